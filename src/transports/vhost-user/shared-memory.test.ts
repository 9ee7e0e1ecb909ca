import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openDriver } from '../../virtio/driver.js';
import { VIRTIO_F_VERSION_1 } from '../../virtio/features.js';
import type { Keep, KeptItem } from '../keep.js';
import { FakeOs } from '../testing/fake-os.js';
import { encodeMessage } from './codec.js';
import { BACKEND_REQUEST, FLAGS, PROTOCOL_F, REQUEST } from './messages.js';
import { encodeU64 } from './payloads.js';
import {
  decodeSharedConfig,
  decodeSharedMapping,
  encodeSharedConfig,
  encodeSharedMapping,
} from './shared-memory.js';
import { Bench } from './testing/bench.js';
import { ALL, during, openProbe, Pair } from './testing/frontend-bench.js';
import { ProbeDevice } from './testing/probe-device.js';
import { RawFrontend } from './testing/raw-frontend.js';

const REGIONS = [
  { id: 0, size: 8192 },
  { id: 7, size: 65_536, files: true },
];
const { SHMEM_MAP, SHMEM_UNMAP } = BACKEND_REQUEST;
const PAGE = 4096;

/** A file of two pages, with a byte in each. */
function file(os: FakeOs): number {
  const { fd, mapping } = os.createMemory('file', 2 * PAGE);
  mapping.view.copyIn(0, Uint8Array.of(1), 0, 1);
  mapping.view.copyIn(PAGE, Uint8Array.of(2), 0, 1);
  mapping.release();
  return fd;
}

test('vu-shmem: a device and its driver share memory, both ends, over a reset too', async () => {
  const device = new ProbeDevice(2, REGIONS);
  const { os, clock, driver, frontend } = await openProbe(device);
  assert.equal(frontend.protocolFeatures & PROTOCOL_F.SHMEM, PROTOCOL_F.SHMEM);
  const regions = await during(os, driver.sharedMemory());
  assert.deepEqual(
    [...regions.values()].map(({ id, size }) => [id, size]),
    [
      [0, 8192],
      [7, 65_536],
    ],
  );
  const ours = device.host!.sharedMemory.get(0)!;
  const theirs = regions.get(0)!;
  ours.write(8190, Uint8Array.of(5, 6));
  assert.deepEqual([...(await during(os, theirs.read(8190, 2)))], [5, 6]);
  theirs.view(0, 4)!.write32(0, 0x0403_0201);
  const read = new Uint8Array(4);
  ours.read(0, read);
  assert.deepEqual([...read], [1, 2, 3, 4]);
  await assert.rejects(during(os, theirs.read(8190, 3)), { code: 'UNMAPPED' });
  assert.throws(() => ours.write(8191, read), { code: 'UNMAPPED' });

  await during(os, frontend.reset());
  assert.throws(() => theirs.view(0, 1), { code: 'UNMAPPED' });
  const again = await during(os, openDriver(frontend, { id: 63, features: 0n, queues: 1 }));
  assert.deepEqual([...(await during(os, theirs.read(8190, 2)))], [5, 6]);
  await during(os, again.close());
  os.run();
  assert.deepEqual([os.openFds, os.openMappings, os.staleAccesses, clock.open], [0, 0, 0, 0]);
});

test('vu-shmem: a device maps files into a region, and takes them out as a whole', async () => {
  const device = new ProbeDevice(2, REGIONS);
  const { os, clock, driver } = await openProbe(device);
  const region = device.host!.sharedMemory.get(7)!;
  const theirs = (await during(os, driver.sharedMemory())).get(7)!;
  await during(os, region.map({ offset: PAGE, length: PAGE, fd: file(os), fileOffset: PAGE }));
  await during(os, region.map({ offset: 0, length: PAGE, fd: file(os), writable: true }));
  assert.deepEqual([...(await during(os, theirs.read(PAGE, 1)))], [2]);
  assert.deepEqual([...(await during(os, theirs.read(PAGE - 1, 2)))], [0, 2], 'from one file into the next');
  await during(os, theirs.write(0, Uint8Array.of(9)));
  await assert.rejects(during(os, theirs.write(PAGE, Uint8Array.of(9))), { code: 'READ_ONLY' });
  const open = os.openFds;
  for (const [offset, length, fileOffset, text] of [
    [0, PAGE, 0, /something is mapped/],
    [PAGE, 2 * PAGE, 0, /something is mapped/],
    [65_536, PAGE, 0, /are not in a region of 65536/],
    [61_440, 2 * PAGE, 0, /are not in a region/],
    [8192, 100, 0, /no pages/],
    [8192, 0, 0, /no pages/],
    [8192, PAGE, 7, /no pages/],
    [8192, PAGE, 2 * PAGE, /does not map/],
  ] as const) {
    await assert.rejects(during(os, region.map({ offset, length, fileOffset, fd: file(os) })), text);
    assert.equal(os.openFds, open);
  }
  await assert.rejects(
    during(os, region.map({ offset: 8192, length: PAGE, fd: os.createOther() })),
    /does not map/,
  );
  await assert.rejects(
    device.host!.sharedMemory.get(0)!.map({ offset: 0, length: PAGE, fd: file(os) }),
    /files: true/,
  );
  await assert.rejects(during(os, region.unmap(0, 2 * PAGE)), /no file is mapped/);
  await during(os, region.unmap(0, PAGE));
  assert.throws(() => theirs.view(0, 1), { code: 'UNMAPPED' });
  await assert.rejects(region.map({ offset: 0, length: 2 * PAGE, fd: file(os) }), /something is mapped/);
  await during(os, region.unmap(PAGE, PAGE));
  await during(os, region.map({ offset: 0, length: 2 * PAGE, fd: file(os) }));
  assert.deepEqual([...(await during(os, theirs.read(PAGE, 1)))], [2]);
  await during(os, driver.close());
  os.run();
  assert.deepEqual([os.openFds, os.openMappings, clock.open], [0, 0, 0]);
});

/** A back-end that is driven by hand up to a running ring, and the channel for what it asks. */
function running(features: bigint, device: ProbeDevice = new ProbeDevice(1, REGIONS), after = {}) {
  const b = new Bench(device, undefined, false, after);
  b.say(REQUEST.SET_PROTOCOL_FEATURES, encodeU64(features));
  const { channel, fd } = b.os.createChannel();
  const asked = new RawFrontend(channel, b.os);
  b.say(REQUEST.SET_BACKEND_REQ_FD, undefined, { fds: [fd] });
  b.os.closeFd(fd);
  b.negotiate();
  const ring = b.ring(0);
  const answer = (ok: boolean): void => {
    const { request } = asked.replies.shift()!;
    channel.send(encodeMessage(request, FLAGS.REPLY, encodeU64(ok ? 0n : 1n)));
    b.os.run();
  };
  return { b, asked, device, ring, answer };
}
const TALKS = PROTOCOL_F.SHMEM | PROTOCOL_F.BACKEND_REQ | PROTOCOL_F.REPLY_ACK | PROTOCOL_F.RESET_DEVICE;

test('vu-front-end-messages: GET_SHMEM_CONFIG tells sizes by id, and the bit is offered with such memory alone', () => {
  for (const [regions, offered] of [
    [REGIONS, PROTOCOL_F.SHMEM],
    [[], 0n],
  ] as const) {
    const b = new Bench(new ProbeDevice(1, regions));
    b.say(REQUEST.GET_PROTOCOL_FEATURES);
    assert.equal(b.frontend.takeU64(REQUEST.GET_PROTOCOL_FEATURES) & PROTOCOL_F.SHMEM, offered);
    for (let i = 0; i < 2; i++) {
      b.say(REQUEST.GET_SHMEM_CONFIG);
      const sizes = decodeSharedConfig(b.frontend.take(REQUEST.GET_SHMEM_CONFIG))!;
      assert.deepEqual(
        [...sizes],
        regions.map(({ id, size }) => [id, size]),
      );
    }
    b.close();
    assert.equal(b.os.openFds, 0);
  }
});

test('vu-back-end-messages: SHMEM_MAP is not sent before a ring is served, and anew after a reset', () => {
  const { b, asked, ring, answer } = running(TALKS);
  ring.start();
  assert.equal(asked.replies.length, 0);
  ring.enable();
  assert.equal(asked.replies.length, 1);
  const { request, flags, payload } = asked.replies[0]!;
  assert.deepEqual([request, flags], [SHMEM_MAP, FLAGS.VERSION | FLAGS.NEED_REPLY]);
  const whole = { id: 0, offset: 0, length: 8192, fileOffset: 0, writable: true };
  assert.deepEqual(decodeSharedMapping(payload), whole);
  answer(true);
  ring.stop();
  b.say(REQUEST.RESET_DEVICE);
  assert.equal(asked.replies.length, 0);
  ring.start();
  ring.enable();
  answer(false);
  assert.match(b.warnings.join(), /does not map shared memory region 0/);
  assert.equal(b.ended, undefined);
  asked.close();
  b.close();
  assert.deepEqual([b.os.openFds, b.os.openMappings], [0, 0]);
});

test('vu-back-end-messages: SHMEM_UNMAP names a whole mapping; nothing waits for ever', async () => {
  const { b, asked, ring, device, answer } = running(TALKS);
  ring.start();
  ring.enable();
  answer(true);
  const region = device.host!.sharedMemory.get(7)!;
  const mapped = region.map({ offset: PAGE, length: PAGE, fd: file(b.os) });
  b.os.run();
  answer(true);
  await mapped;
  const unmapped = region.unmap(PAGE, PAGE);
  b.os.run();
  const { request, payload } = asked.replies[0]!;
  assert.equal(request, SHMEM_UNMAP);
  assert.deepEqual(decodeSharedMapping(payload), {
    id: 7,
    offset: PAGE,
    length: PAGE,
    fileOffset: 0,
    writable: false,
  });
  answer(true);
  await unmapped;
  // One is under way, and one waits for it, when the driver resets the device; then the channel goes.
  const first = region.map({ offset: 0, length: PAGE, fd: file(b.os) });
  const second = region.map({ offset: PAGE, length: PAGE, fd: file(b.os) });
  const lost = [assert.rejects(first, /does not map/), assert.rejects(second, /does not map/)];
  ring.stop();
  b.say(REQUEST.RESET_DEVICE);
  asked.close();
  b.os.run();
  await Promise.all(lost);
  await assert.rejects(region.map({ offset: 0, length: PAGE, fd: file(b.os) }), /takes none/);
  b.close();
  assert.deepEqual([b.os.openFds, b.os.openMappings], [0, 0]);
});

test('vu-shmem: without acknowledgements what was sent is taken for done; without the bit nothing is sent', async () => {
  const { b, asked, ring, device } = running(PROTOCOL_F.SHMEM | PROTOCOL_F.BACKEND_REQ);
  ring.start();
  ring.enable();
  await device.host!.sharedMemory.get(7)!.map({ offset: 0, length: PAGE, fd: file(b.os) });
  b.os.run();
  assert.deepEqual(
    asked.replies.map(({ request, flags }) => [request, flags]),
    [
      [SHMEM_MAP, FLAGS.VERSION],
      [SHMEM_MAP, FLAGS.VERSION],
    ],
  );
  asked.close();
  b.close();
  assert.equal(b.os.openFds, 0);

  const without = running(PROTOCOL_F.BACKEND_REQ | PROTOCOL_F.REPLY_ACK);
  without.ring.start();
  without.ring.enable();
  assert.equal(without.asked.replies.length, 0);
  const region = without.device.host!.sharedMemory.get(7)!;
  await assert.rejects(region.map({ offset: 0, length: PAGE, fd: file(without.b.os) }), /takes none/);
  without.asked.close();
  without.b.close();
  assert.equal(without.b.os.openFds, 0);
});

test('vu-shmem: a session whose process died goes on with the memory, and takes its files out', async () => {
  const os = new FakeOs();
  const kept = new Map<string, KeptItem>();
  const settle: Keep['settle'] = (_size, { drop = [], put = [] } = {}) => {
    for (const key of drop) kept.delete(key);
    for (const { key, bytes, fds = [] } of put)
      kept.set(key, { key, bytes, fds: fds.map((fd) => os.duplicate(fd)) });
  };
  const last = running(TALKS, new ProbeDevice(1, REGIONS), { os, keep: { kept: [], settle } });
  last.ring.start();
  last.ring.enable();
  last.answer(true);
  last.device.host!.sharedMemory.get(0)!.write(3, Uint8Array.of(5));
  const mapped = last.device.host!.sharedMemory.get(7)!.map({ offset: 0, length: PAGE, fd: file(os) });
  os.run();
  last.answer(true);
  await mapped;
  const items = [...kept.values()].filter(({ key }) => /^(shared|mapped)/.test(key));
  assert.deepEqual(items.map(({ key }) => key).sort(), ['mapped/7/0', 'shared/0']);
  for (const { key, fds } of kept.values())
    if (!/^(shared|mapped)/.test(key)) for (const fd of fds) os.closeFd(fd);

  const next = running(TALKS, new ProbeDevice(1, REGIONS), { os, keep: { kept: items, settle: () => {} } });
  next.ring.start();
  next.ring.enable();
  const read = new Uint8Array(1);
  next.device.host!.sharedMemory.get(0)!.read(3, read);
  assert.deepEqual([...read], [5]);
  assert.equal(next.asked.replies[0]!.request, SHMEM_UNMAP);
  const { id, offset, length } = decodeSharedMapping(next.asked.replies[0]!.payload)!;
  assert.deepEqual([id, offset, length], [7, 0, PAGE]);
  next.answer(true);
  assert.equal(next.asked.replies[0]!.request, SHMEM_MAP);
  next.answer(false);
  assert.deepEqual(next.b.warnings, [], 'it has it already');
  for (const each of [last, next]) {
    each.asked.close();
    each.b.close();
  }
  assert.deepEqual([os.openFds, os.openMappings], [0, 0]);
});

const MAPPING = { id: 7, offset: 0, length: PAGE, fileOffset: 0, writable: true };

test('vu-back-end-messages: what a back-end maps where it must not is refused, and leaves nothing open', async () => {
  const sizes = new Map([[7, 8 * PAGE]]);
  const backend: { channel?: RawFrontend } = {};
  const p: Pair = new Pair({
    features: VIRTIO_F_VERSION_1,
    protocolFeatures: ALL,
    reply: (message) => {
      if (message.request === REQUEST.GET_SHMEM_CONFIG) return encodeSharedConfig(sizes);
      if (message.request === REQUEST.SET_BACKEND_REQ_FD)
        backend.channel = new RawFrontend(p.os.adoptChannel(message.fds.pop()!), p.os);
      return undefined;
    },
  });
  await p.open();
  const asked = backend.channel!;
  const ask = (request: number, payload: Uint8Array, fds: readonly number[] = []): bigint => {
    asked.send(request, payload, { fds, needReply: true });
    for (const fd of fds) p.os.closeFd(fd);
    p.os.run();
    return asked.takeU64(request);
  };
  const map = (change: Partial<typeof MAPPING>, fds = [file(p.os)]): bigint =>
    ask(SHMEM_MAP, encodeSharedMapping({ ...MAPPING, ...change }), fds);
  assert.equal(map({}), 0n);
  const open = p.os.openFds;
  for (const change of [
    {},
    { offset: 4 * PAGE, id: 0 },
    { offset: 4 * PAGE, id: 255 },
    { offset: 8 * PAGE },
    { offset: 7 * PAGE, length: 2 * PAGE },
    { offset: 4 * PAGE, length: 0 },
    { offset: 4 * PAGE, length: 2 ** 53 - PAGE },
    { offset: 2 ** 53 - PAGE },
    { offset: PAGE + 1 },
    { offset: PAGE, fileOffset: 2 * PAGE },
    { offset: PAGE, fileOffset: 1 },
  ])
    assert.notEqual(map(change), 0n, JSON.stringify(change));
  assert.notEqual(map({ offset: PAGE }, []), 0n);
  assert.notEqual(map({ offset: PAGE }, [file(p.os), file(p.os)]), 0n);
  assert.notEqual(map({ offset: PAGE }, [p.os.createOther()]), 0n);
  const flags = encodeSharedMapping({ ...MAPPING, offset: PAGE });
  flags[32] = 2;
  assert.notEqual(ask(SHMEM_MAP, flags, [file(p.os)]), 0n);
  assert.notEqual(ask(SHMEM_MAP, new Uint8Array(39), [file(p.os)]), 0n);
  const high = encodeSharedMapping({ ...MAPPING, offset: PAGE });
  high[31] = 0xff;
  assert.notEqual(ask(SHMEM_MAP, high, [file(p.os)]), 0n);
  for (const change of [{ length: 2 * PAGE }, { offset: PAGE }, { id: 1 }])
    assert.notEqual(ask(SHMEM_UNMAP, encodeSharedMapping({ ...MAPPING, ...change })), 0n);
  assert.notEqual(ask(SHMEM_UNMAP, new Uint8Array(3)), 0n);
  assert.equal(p.os.openFds, open);
  const region = (await p.during(p.frontend.sharedMemory())).get(7)!;
  assert.deepEqual([...(await p.during(region.read(0, 1)))], [1]);
  assert.equal(ask(SHMEM_UNMAP, encodeSharedMapping(MAPPING)), 0n);
  assert.equal(map({}), 0n);
  assert.deepEqual(p.failures, []);
  p.frontend.close();
  p.os.run();
  asked.close();
  p.finish();
});

test('vu-front-end-messages: GET_SHMEM_CONFIG that can not be ends the connection', async () => {
  const odd = encodeSharedConfig(new Map([[0, 100]]));
  const count = encodeSharedConfig(new Map([[0, PAGE]]));
  count[0] = 2;
  const huge = encodeSharedConfig(new Map([[0, PAGE]]));
  huge[15] = 0xff;
  for (const payload of [odd, count, huge, new Uint8Array(8), new Uint8Array(2055)]) {
    const p = new Pair({
      reply: ({ request }) => (request === REQUEST.GET_SHMEM_CONFIG ? payload : undefined),
    });
    await assert.rejects(p.during(p.frontend.reset()), { code: 'PROTOCOL' });
    p.finish();
  }
});
