import assert from 'node:assert/strict';
import { openSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { LinuxOs } from '../../linux/linux-os.js';
import type { FrontendAddress, GuestAddress } from '../../memory/address.js';
import { GuestAllocator } from '../../memory/guest-allocator.js';
import { GuestMemory } from '../../memory/guest-memory.js';
import { openDriver } from '../../virtio/driver.js';
import { VIRTIO_F_EVENT_IDX, VIRTIO_F_INDIRECT_DESC, VIRTIO_F_VERSION_1 } from '../../virtio/features.js';
import { SplitDriverQueue } from '../../virtqueue/split/driver.js';
import { serveVhostUser } from './device/backend.js';
import { VhostUserFrontend } from './driver/frontend.js';
import { F_PROTOCOL_FEATURES, PROTOCOL_F, REQUEST } from './messages.js';
import * as payloads from './payloads.js';
import { ProbeDevice } from './testing/probe-device.js';
import { RawFrontend } from './testing/raw-frontend.js';

const GUEST = 0x1_0000_0000;
const USER = 0x7f00_dead_0000;
const SIZE = 1 << 20;

const openFds = (): number => readdirSync('/proc/self/fd').length;

/** Serves a device on one end of a socket pair. */
function serve(
  os: LinuxOs,
  device: ProbeDevice,
): { frontend: RawFrontend; warnings: string[]; ended: Promise<Error | undefined> } {
  const warnings: string[] = [];
  const { channel, fd } = os.createChannel();
  const environment = {
    os,
    clock: os.clock,
    defer: (callback: () => void) => void setImmediate(callback),
    print: () => {},
    warn: (line: string) => void warnings.push(line),
  };
  const ended = new Promise<Error | undefined>((resolve) => {
    serveVhostUser(os.adoptChannel(fd), device, environment, resolve);
  });
  return { frontend: new RawFrontend(channel, os), warnings, ended };
}

test('over a real socket, shared memory and eventfds: what QEMU says, and 100,000 requests', async () => {
  const before = openFds();
  const os = new LinuxOs();
  const device = new ProbeDevice(1);
  const { frontend, warnings, ended } = serve(os, device);
  const u64 = async (request: number): Promise<bigint> => {
    frontend.send(request);
    return (await frontend.reply(request)).getBigUint64(0, true);
  };
  const acknowledged = async (request: number, payload?: Uint8Array, fds: number[] = []): Promise<void> => {
    frontend.send(request, payload, { needReply: true, fds });
    assert.equal((await frontend.reply(request)).getBigUint64(0, true), 0n);
  };

  // Realize.
  const offered = await u64(REQUEST.GET_FEATURES);
  const protocolFeatures = await u64(REQUEST.GET_PROTOCOL_FEATURES);
  frontend.send(REQUEST.SET_PROTOCOL_FEATURES, payloads.encodeU64(protocolFeatures));
  assert.equal(await u64(REQUEST.GET_QUEUE_NUM), 1n);
  const slots = await u64(REQUEST.GET_MAX_MEM_SLOTS);
  assert.ok(slots >= 8n);
  const backend = os.createChannel();
  let configChanges = 0;
  backend.channel.receive({
    received: () => {
      configChanges += 1;
    },
    closed: () => {},
  });
  await acknowledged(REQUEST.SET_BACKEND_REQ_FD, undefined, [backend.fd]);
  os.closeFd(backend.fd);
  frontend.send(REQUEST.SET_OWNER);
  const [kick, call, err] = [os.createEvent(), os.createEvent(), os.createEvent()];
  frontend.send(REQUEST.SET_VRING_CALL, payloads.encodeU64(0n), { fds: [call.fd] });
  await acknowledged(REQUEST.SET_VRING_ERR, payloads.encodeU64(0n), [err.fd]);

  // DRIVER_OK.
  const { fd: memoryFd, mapping } = os.createMemory('test', SIZE);
  const memory = new GuestMemory();
  memory.add({ start: GUEST as GuestAddress, view: mapping.view });
  const allocator = new GuestAllocator(GUEST as GuestAddress, SIZE);
  const queue = new SplitDriverQueue<number>({ memory, allocator, size: 64, eventIdx: true, indirect: true });
  const features = VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC | F_PROTOCOL_FEATURES;
  assert.equal(features & ~offered, 0n);
  frontend.send(REQUEST.SET_FEATURES, payloads.encodeU64(features));
  const region = {
    guestAddress: GUEST as GuestAddress,
    size: SIZE,
    userAddress: USER as FrontendAddress,
    mmapOffset: 0,
  };
  await acknowledged(REQUEST.ADD_MEM_REG, payloads.encodeRegion(region), [memoryFd]);
  const user = (address: number): FrontendAddress => (USER + (address - GUEST)) as FrontendAddress;
  frontend.send(REQUEST.SET_VRING_NUM, payloads.encodeVringState({ index: 0, num: 64 }));
  frontend.send(REQUEST.SET_VRING_BASE, payloads.encodeVringState({ index: 0, num: 0 }));
  frontend.send(
    REQUEST.SET_VRING_ADDR,
    payloads.encodeVringAddress({
      index: 0,
      flags: 0,
      log: 0 as GuestAddress,
      descriptor: user(queue.descriptorArea),
      available: user(queue.driverArea),
      used: user(queue.deviceArea),
    }),
  );
  frontend.send(REQUEST.SET_VRING_KICK, payloads.encodeU64(0n), { fds: [kick.fd] });
  await acknowledged(REQUEST.SET_VRING_ENABLE, payloads.encodeVringState({ index: 0, num: 1 }));

  const total = 100_000;
  const buffers = Array.from({ length: 32 }, () => ({ out: allocator.alloc(4), into: allocator.alloc(4) }));
  await new Promise<void>((resolve, reject) => {
    const bytes = new Uint8Array(4);
    const word = new DataView(bytes.buffer);
    let sent = 0;
    let answered = 0;
    const free = buffers.map((_, i) => i);
    const expected = new Map<number, number>();
    const work = (): void => {
      do {
        for (let used = queue.reap(); used !== undefined; used = queue.reap()) {
          const { out, into } = buffers[used.token]!;
          memory.read(into.address, bytes);
          assert.equal(used.written, 4);
          assert.equal(word.getUint32(0, true), expected.get(used.token));
          memory.write(out.address, new Uint8Array(4));
          free.push(used.token);
          answered += 1;
        }
        while (free.length > 0 && sent < total) {
          const slot = free.pop()!;
          const { out, into } = buffers[slot]!;
          word.setUint32(0, sent, true);
          memory.write(out.address, bytes);
          expected.set(slot, sent);
          assert.ok(queue.add([out], [into], slot));
          sent += 1;
        }
        if (queue.publish()) kick.signal();
      } while (queue.enableInterrupts());
      if (answered === total) resolve();
    };
    call.watch(() => {
      try {
        work();
      } catch (error) {
        reject(error as Error);
      }
    });
    work();
  });

  device.host!.configChanged();
  frontend.send(REQUEST.SET_VRING_ENABLE, payloads.encodeVringState({ index: 0, num: 0 }));
  frontend.send(REQUEST.GET_VRING_BASE, payloads.encodeVringState({ index: 0, num: 0 }));
  const base = (await frontend.reply(REQUEST.GET_VRING_BASE)).getUint32(4, true);
  assert.equal(base, total % 65_536);
  assert.equal(configChanges, 1);
  assert.deepEqual(warnings, []);

  frontend.close();
  assert.equal(await ended, undefined);
  for (const event of [kick, call, err]) event.close();
  backend.channel.close();
  mapping.release();
  os.closeFd(memoryFd);
  os.close();
  assert.equal(openFds(), before);
});

test('over a real socket: files where events and memory belong, too many of them, and then nonsense', async () => {
  const before = openFds();
  const os = new LinuxOs();
  const { frontend, warnings, ended } = serve(os, new ProbeDevice(1));
  const { fd: memoryFd, mapping } = os.createMemory('test', SIZE);
  const event = os.createEvent();
  const region = (size: number): Uint8Array =>
    payloads.encodeRegion({
      guestAddress: GUEST as GuestAddress,
      size,
      userAddress: USER as FrontendAddress,
      mmapOffset: 0,
    });
  frontend.send(REQUEST.SET_PROTOCOL_FEATURES, payloads.encodeU64(PROTOCOL_F.REPLY_ACK));
  for (const [request, payload, fd] of [
    [REQUEST.ADD_MEM_REG, region(SIZE), event.fd],
    [REQUEST.ADD_MEM_REG, region(2 * SIZE), memoryFd],
    [REQUEST.SET_VRING_KICK, payloads.encodeU64(0n), memoryFd],
    [REQUEST.SET_BACKEND_REQ_FD, undefined, memoryFd],
  ] as const) {
    frontend.send(request, payload, { needReply: true, fds: [fd] });
    assert.notEqual((await frontend.reply(request)).getBigUint64(0, true), 0n);
  }
  assert.equal(warnings.length, 4);
  frontend.send(REQUEST.SET_OWNER, undefined, { fds: Array<number>(60).fill(memoryFd), needReply: true });
  await frontend.reply(REQUEST.SET_OWNER);
  frontend.channel.send(new Uint8Array(12), [memoryFd]);
  assert.equal((await ended)?.name, 'ProtocolError');
  frontend.close();
  event.close();
  mapping.release();
  os.closeFd(memoryFd);
  os.close();
  assert.equal(openFds(), before);
});

test('over a real socket: a driver with 20,000 requests under way or behind, and a back-end that goes in the middle', async () => {
  const before = openFds();
  const os = new LinuxOs();
  const device = new ProbeDevice(2);
  const { channel, fd } = os.createChannel();
  const environment = {
    os,
    clock: os.clock,
    defer: (callback: () => void) => void setImmediate(callback),
    print: () => {},
    warn: (line: string) => assert.fail(line),
  };
  const session = serveVhostUser(os.adoptChannel(fd), device, environment, () => {});
  const frontend = new VhostUserFrontend(channel, { os, clock: os.clock });
  const driver = await openDriver(frontend, { id: 63, features: 0n, queues: 2, queueSize: 64 });
  const send = (count: number): Promise<Uint8Array>[] =>
    Array.from({ length: count }, (_, i) => driver.queues[i % 2]!.request(Uint8Array.of(i, i >> 8, 7), 3));
  for (const [i, answer] of (await Promise.all(send(20_000))).entries()) {
    assert.deepEqual([...answer], [i & 255, (i >> 8) & 255, 7]);
  }

  device.hold = true;
  const lost = send(1000);
  const config = driver.readConfig(0, 4);
  session.close();
  for (const promise of [...lost, config]) await assert.rejects(promise, { code: 'LOST' });
  await driver.close();
  os.close();
  assert.equal(openFds(), before);
});

test('vu-shmem: over a real socket, a driver sees what a device writes, and the files that it maps', async () => {
  const before = openFds();
  const os = new LinuxOs();
  const device = new ProbeDevice(1, [
    { id: 0, size: 8 << 20 },
    { id: 1, size: 1 << 20, files: true },
  ]);
  const { channel, fd } = os.createChannel();
  const warnings: string[] = [];
  const environment = {
    os,
    clock: os.clock,
    defer: (callback: () => void) => void setImmediate(callback),
    print: () => {},
    warn: (line: string) => void warnings.push(line),
  };
  const ended = new Promise<void>((resolve) => {
    serveVhostUser(os.adoptChannel(fd), device, environment, () => resolve());
  });
  const frontend = new VhostUserFrontend(channel, { os, clock: os.clock }, { memorySize: 1 << 20 });
  const driver = await openDriver(frontend, { id: 63, features: 0n, queues: 1 });
  const regions = await driver.sharedMemory();
  const end = (8 << 20) - 3;
  device.host!.sharedMemory.get(0)!.write(end, Uint8Array.of(1, 2, 3));
  assert.deepEqual([...(await regions.get(0)!.read(end, 3))], [1, 2, 3]);
  await regions.get(0)!.write(0, Uint8Array.of(9));
  assert.equal(device.host!.sharedMemory.get(0)!.view(0, 4).read32(0), 9);

  const { fd: file, mapping } = os.createMemory('file', 0x2000);
  mapping.view.copyIn(0x1000, Uint8Array.of(5), 0, 1);
  mapping.release();
  // One that can only be read.
  const readOnly = openSync(`/proc/self/fd/${file}`, 'r');
  os.closeFd(file);
  const files = device.host!.sharedMemory.get(1)!;
  await files.map({ offset: 0x1000, length: 0x1000, fd: readOnly, fileOffset: 0x1000 });
  assert.deepEqual([...(await regions.get(1)!.read(0x1000, 1))], [5]);
  await assert.rejects(regions.get(1)!.write(0x1000, Uint8Array.of(6)), { code: 'READ_ONLY' });
  await assert.rejects(regions.get(1)!.read(0, 1), { code: 'UNMAPPED' });
  const disk = openSync(process.execPath, 'r');
  await assert.rejects(files.map({ offset: 0, length: 0x1000, fd: disk }), /does not map/);
  await files.unmap(0x1000, 0x1000);
  assert.throws(() => regions.get(1)!.view(0x1000, 1), { code: 'UNMAPPED' });
  await driver.close();
  await ended;
  assert.deepEqual(warnings, []);
  os.close();
  // The file that was refused is closed on a thread: it may be one whose close takes time.
  while (openFds() > before) await sleep(1);
  assert.equal(openFds(), before);
});
