import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { openDriver } from '../../../virtio/driver.js';
import { TransportError } from '../../../virtio/driver-transport.js';
import { VIRTIO_F_VERSION_1 } from '../../../virtio/features.js';
import { Decoder, encodeMessage, type Message } from '../codec.js';
import {
  BACKEND_REQUEST,
  F_PROTOCOL_FEATURES,
  FLAGS,
  PROTOCOL_F,
  REQUEST,
  requestName,
} from '../messages.js';
import { decodeRegion, decodeRegions, decodeVringAddress, encodeU64 } from '../payloads.js';
import { ALL, during, openProbe, Pair, RING } from '../testing/frontend-bench.js';
import { ProbeDevice } from '../testing/probe-device.js';
import type { Script } from '../testing/scripted-backend.js';

test('with our own back-end: requests, configuration space, config changes, and nothing left at the end', async () => {
  const device = new ProbeDevice(2);
  const { os, driver, frontend, clock } = await openProbe(device);
  assert.equal(frontend.protocolFeatures, ALL & ~PROTOCOL_F.INBAND_NOTIFICATIONS & ~PROTOCOL_F.SHMEM);
  assert.equal(driver.features, 0b11n);
  assert.deepEqual(device.calls, ['activate 3']);

  const answers = await during(
    os,
    Promise.all(
      Array.from({ length: 200 }, (_, i) => driver.queues[i % 2]!.request(Uint8Array.of(i, i + 1), 2)),
    ),
  );
  for (const [i, answer] of answers.entries()) assert.deepEqual([...answer], [i & 255, (i + 1) & 255]);

  device.config.view.setUint32(0, 0x0403_0201, true);
  assert.deepEqual([...(await during(os, driver.readConfig(1, 3)))], [2, 3, 4]);
  await during(os, driver.writeConfig(4, Uint8Array.of(9, 8)));
  assert.deepEqual([...device.config.read(4, 4)], [9, 8, 0, 0]);
  let changes = 0;
  driver.onConfigChange(() => {
    changes += 1;
  });
  for (const count of [1, 2, 3]) {
    device.host!.configChanged();
    os.run();
    assert.equal(changes, count);
  }

  await during(os, driver.close());
  os.run();
  assert.deepEqual(device.calls.slice(-2), ['reset', 'close']);
  assert.equal(os.openFds, 0);
  assert.equal(os.openMappings, 0);
  assert.equal(os.staleAccesses, 0);
  assert.equal(clock.open, 0);
});

test('with our own back-end: a device that is reset starts afresh, and a queue that is stopped goes on at its base', async () => {
  const device = new ProbeDevice(2);
  const { os, driver, frontend } = await openProbe(device);
  await during(os, driver.queues[0]!.request(Uint8Array.of(1), 1));
  assert.equal(await during(os, frontend.stopQueue(0)), 1);
  assert.equal(await during(os, frontend.stopQueue(0)), 1);
  assert.equal(await during(os, frontend.stopQueue(1)), 0);
  assert.deepEqual(device.calls, ['activate 3']);
  await during(os, frontend.reset());
  assert.deepEqual(device.calls, ['activate 3', 'reset']);
  const again = await during(os, openDriver(frontend, { id: 63, features: 0n, queues: 1 }));
  assert.deepEqual([...(await during(os, again.queues[0]!.request(Uint8Array.of(5), 1)))], [5]);
  assert.deepEqual(device.calls, ['activate 3', 'reset', 'activate 0']);
  await during(os, again.close());
  os.run();
  assert.equal(os.openFds, 0);
});

test('a back-end that is gone: everything outstanding rejects, and everything after', async () => {
  const device = new ProbeDevice(2);
  device.hold = true;
  const { os, driver, frontend, hangUp } = await openProbe(device);
  const lost = driver.queues[0]!.request(Uint8Array.of(1), 1);
  const config = driver.readConfig(0, 4);
  hangUp();
  const outstanding: readonly Promise<unknown>[] = [
    lost,
    config,
    driver.readConfig(0, 4),
    frontend.start(),
    frontend.offeredFeatures().then(() => frontend.configGeneration()),
  ];
  for (const promise of outstanding) {
    await assert.rejects(during(os, promise), { name: 'TransportError', code: 'LOST' });
  }
  assert.equal(((await driver.failure) as TransportError).code, 'LOST');
  await during(os, driver.close());
  os.run();
  assert.equal(os.openFds, 0);
  assert.equal(os.openMappings, 0);
});

test('what is said to a back-end that can everything, in order', async () => {
  const p = new Pair({ protocolFeatures: ALL & ~PROTOCOL_F.GPA_ADDRESSES });
  await p.open();
  assert.deepEqual(p.backend.requests.map(requestName), [
    'GET_FEATURES',
    'GET_PROTOCOL_FEATURES',
    'SET_PROTOCOL_FEATURES',
    'GET_QUEUE_NUM',
    'GET_SHMEM_CONFIG',
    'SET_BACKEND_REQ_FD',
    'SET_OWNER',
    'RESET_DEVICE',
    'SET_STATUS',
    'SET_STATUS',
    'SET_FEATURES',
    'SET_STATUS',
    'GET_STATUS',
    'ADD_MEM_REG',
    'SET_VRING_NUM',
    'SET_VRING_BASE',
    'SET_VRING_ADDR',
    'SET_VRING_CALL',
    'SET_VRING_ERR',
    'SET_VRING_KICK',
    'SET_VRING_ENABLE',
    'SET_STATUS',
  ]);
  const { heard } = p.backend;
  const find = (request: number): Message => heard.find((message) => message.request === request)!;
  const { guestAddress, userAddress, size } = decodeRegion(find(REQUEST.ADD_MEM_REG).payload);
  assert.equal(size, 1 << 20);
  const { descriptor, available, used } = decodeVringAddress(find(REQUEST.SET_VRING_ADDR).payload);
  // In the address space of the front-end, not in the guest's.
  assert.deepEqual(
    [descriptor, available, used].map((address) => address - userAddress + guestAddress),
    [RING.descriptorArea, RING.driverArea, RING.deviceArea],
  );
  assert.notEqual(guestAddress as number, userAddress as number);
  const features = find(REQUEST.SET_FEATURES).payload.getBigUint64(0, true);
  assert.equal(features, VIRTIO_F_VERSION_1 | F_PROTOCOL_FEATURES);
  p.finish();
});

test('a back-end without protocol features is spoken to without them', async () => {
  const p = new Pair({ protocolFeatures: undefined });
  await p.open();
  assert.equal(await p.during(p.frontend.maxQueueSize(7)), 1024);
  await assert.rejects(p.during(p.frontend.readConfig(0, 1)), { code: 'REFUSED' });
  await p.during(p.frontend.reset());
  assert.deepEqual(p.backend.requests.filter((r) => r !== REQUEST.GET_FEATURES).map(requestName), [
    'SET_OWNER',
    'SET_FEATURES',
    'SET_MEM_TABLE',
    'SET_VRING_NUM',
    'SET_VRING_BASE',
    'SET_VRING_ADDR',
    'SET_VRING_CALL',
    'SET_VRING_ERR',
    'SET_VRING_KICK',
    'GET_VRING_BASE',
  ]);
  assert.ok(p.backend.heard.every(({ flags }) => flags === FLAGS.VERSION));
  const table = p.backend.heard.find(({ request }) => request === REQUEST.SET_MEM_TABLE)!;
  assert.equal(decodeRegions(table.payload)?.length, 1);
  p.finish();
});

test('each ring is kicked once it was started, is stopped with 0 in num, and a device that is given up is told so', async () => {
  const kicks: number[] = [];
  const p = new Pair({
    reply: ({ request, fds }) => {
      if (request === REQUEST.SET_VRING_KICK) kicks.push(...fds.splice(0));
      return request === REQUEST.GET_STATUS ? encodeU64(11n) : undefined;
    },
  });
  await p.open();
  const kick = p.os.adoptEvent(kicks[0]!);
  let rang = 0;
  kick.watch(() => {
    rang += 1;
  });
  p.os.run();
  assert.equal(rang, 1);
  await p.during(p.frontend.stopQueue(0));
  const stop = p.backend.heard.find(({ request }) => request === REQUEST.GET_VRING_BASE)!;
  assert.deepEqual([stop.payload.getUint32(0, true), stop.payload.getUint32(4, true)], [0, 0]);
  await p.during(p.frontend.giveUp());
  const status = p.backend.heard.findLast(({ request }) => request === REQUEST.SET_STATUS)!;
  assert.equal(status.payload.getBigUint64(0, true), 0x8bn);
  kick.close();
  p.finish();
});

test('what a back-end asks is answered where it wants that: 0 for a change of the configuration, something else for what is not known', async () => {
  const taken: number[] = [];
  const p = new Pair({
    reply: ({ request, fds }) => {
      if (request === REQUEST.SET_BACKEND_REQ_FD) taken.push(...fds.splice(0));
      return undefined;
    },
  });
  await p.open();
  let changes = 0;
  p.frontend.onConfigChange(() => {
    changes += 1;
  });
  const channel = p.os.adoptChannel(taken[0]!);
  const answers: [request: number, flags: number, failed: boolean][] = [];
  const decoder = new Decoder();
  channel.receive({
    received: (bytes, fds) => {
      decoder.push(bytes, fds);
      for (let m = decoder.next(); m !== undefined; m = decoder.next()) {
        answers.push([m.request, m.flags, m.payload.getBigUint64(0, true) !== 0n]);
      }
    },
    closed: () => {},
  });
  const { CONFIG_CHANGE_MSG } = BACKEND_REQUEST;
  for (const [request, flags] of [
    [CONFIG_CHANGE_MSG, 0],
    [CONFIG_CHANGE_MSG, FLAGS.NEED_REPLY],
    [99, 0],
    [99, FLAGS.NEED_REPLY],
  ] as const) {
    channel.send(encodeMessage(request, flags));
    p.os.run();
  }
  const reply = FLAGS.VERSION | FLAGS.REPLY;
  assert.deepEqual(answers, [
    [CONFIG_CHANGE_MSG, reply, false],
    [99, reply, true],
  ]);
  assert.equal(changes, 2);
  channel.close();
  p.finish();
});

test('a back-end without REPLY_ACK that hangs up at a step: the step rejects all the same', async () => {
  for (const last of [REQUEST.SET_FEATURES, REQUEST.SET_VRING_KICK]) {
    const p: Pair = new Pair({
      protocolFeatures: undefined,
      reply: ({ request }) => {
        if (request === last) p.backend.channel.close();
        return undefined;
      },
    });
    await assert.rejects(p.open(), { code: 'LOST' });
    assert.equal(p.backend.requests.at(-1), last);
    p.finish();
  }
});

test('a back-end as libvhost-user: the memory table comes again with each driver, and a queue that MQ does not count is none', async () => {
  const protocolFeatures = PROTOCOL_F.MQ | PROTOCOL_F.REPLY_ACK | PROTOCOL_F.CONFIG | (1n << 18n);
  const p = new Pair({ protocolFeatures });
  await p.open();
  assert.equal(p.frontend.protocolFeatures, protocolFeatures & ~(1n << 18n));
  assert.equal(await p.during(p.frontend.maxQueueSize(1)), 0);
  assert.equal(await p.during(p.frontend.maxQueueSize(0)), 1024);
  await p.open();
  const tables = p.backend.requests.filter((request) => request === REQUEST.SET_MEM_TABLE);
  assert.equal(tables.length, 2);
  assert.ok(!p.backend.requests.includes(REQUEST.RESET_DEVICE));
  p.finish();
});

test('descriptors: the back-end is given as many as it should be, and the front-end keeps none open', async () => {
  const p = new Pair();
  await p.open();
  const given = p.backend.heard.flatMap(({ request }, i) =>
    p.backend.fds[i] ? [[requestName(request), p.backend.fds[i]]] : [],
  );
  assert.deepEqual(given, [
    ['SET_BACKEND_REQ_FD', 1],
    ['ADD_MEM_REG', 1],
    ['SET_VRING_CALL', 1],
    ['SET_VRING_ERR', 1],
    ['SET_VRING_KICK', 1],
  ]);
  p.finish();
});

test('a back-end that refuses a step: the step rejects, and the connection lives', async () => {
  for (const refused of [
    REQUEST.SET_FEATURES,
    REQUEST.ADD_MEM_REG,
    REQUEST.SET_VRING_NUM,
    REQUEST.SET_VRING_KICK,
  ]) {
    const p = new Pair({ reply: ({ request }) => (request === refused ? encodeU64(5n) : undefined) });
    await assert.rejects(p.open(), {
      code: 'REFUSED',
      message: `the back-end refused ${requestName(refused)}`,
    });
    assert.equal(p.failures.length, 0);
    await p.during(p.frontend.offeredFeatures());
    p.finish();
  }
});

test('a device that takes FEATURES_OK back does not accept the features', async () => {
  const p = new Pair({
    reply: ({ request }) => (request === REQUEST.GET_STATUS ? encodeU64(3n) : undefined),
  });
  await assert.rejects(p.open(), { code: 'REFUSED', message: /does not accept these features/ });
  p.finish();
});

test('a back-end that does not reply: what waits rejects after the timeout, and says which reply is missing', async () => {
  const p = new Pair({ reply: ({ request }) => (request === REQUEST.GET_QUEUE_NUM ? 'none' : undefined) });
  const opening = p.open();
  opening.catch(() => {});
  for (let i = 0; i < 100; i++) {
    p.os.run();
    await Promise.resolve();
  }
  p.clock.advance(9e9);
  assert.equal(p.failures.length, 0);
  p.clock.advance(2e9);
  await assert.rejects(p.during(opening), {
    code: 'TIMEOUT',
    message: 'the back-end did not reply to GET_QUEUE_NUM within 10 s',
  });
  assert.equal(p.failures[0]?.code, 'TIMEOUT');
  p.os.run();
  assert.equal(p.backend.closed, true);
  p.finish();
});

test('each reply has its own time: a slow one does not eat up that of the next', async () => {
  const silent = new Pair({ reply: ({ request }) => (request === REQUEST.GET_CONFIG ? 'none' : undefined) });
  await silent.open();
  const reads = [silent.frontend.readConfig(0, 1)];
  silent.clock.advance(6e9);
  reads.push(silent.frontend.readConfig(0, 2));
  const outcomes = Promise.allSettled(reads);
  silent.os.run();
  silent.backend.channel.send(encodeMessage(REQUEST.GET_CONFIG, FLAGS.REPLY, new Uint8Array(13)));
  silent.os.run();
  silent.clock.advance(9e9);
  assert.equal(silent.failures.length, 0);
  silent.clock.advance(2e9);
  const [first, second] = await silent.during(outcomes);
  assert.equal(first?.status, 'fulfilled');
  assert.equal(second?.status === 'rejected' && second.reason.code, 'TIMEOUT');
  silent.finish();
});

test('a reply of the wrong size, to the wrong request, or to none, is not taken', async () => {
  const ways: readonly [Partial<Script>, RegExp][] = [
    [
      { reply: ({ request }) => (request === REQUEST.GET_FEATURES ? new Uint8Array(4) : undefined) },
      /GET_FEATURES with 4 bytes/,
    ],
    [
      { reply: ({ request }) => (request === REQUEST.SET_OWNER ? new Uint8Array(9) : undefined) },
      /SET_OWNER with 9 bytes/,
    ],
  ];
  for (const [script, message] of ways) {
    const p = new Pair(script);
    await assert.rejects(p.open(), { code: 'PROTOCOL', message });
    p.finish();
  }
  for (const bytes of [
    encodeMessage(REQUEST.GET_QUEUE_NUM, FLAGS.REPLY, encodeU64(1n)),
    encodeMessage(REQUEST.GET_FEATURES, 0, encodeU64(1n)),
    new Uint8Array(12),
  ]) {
    const p = new Pair({ reply: () => 'none' });
    const opening = p.open();
    opening.catch(() => {});
    p.backend.channel.send(bytes);
    await assert.rejects(p.during(opening), { code: 'PROTOCOL' });
    assert.equal(p.failures.length, 1);
    p.finish();
  }
  const p = new Pair();
  await p.open();
  p.backend.channel.send(encodeMessage(REQUEST.GET_FEATURES, FLAGS.REPLY, encodeU64(1n)));
  p.os.run();
  assert.equal(p.failures[0]?.message, 'the back-end replied to GET_FEATURES where none was due');
  await assert.rejects(p.during(p.frontend.start()), { code: 'PROTOCOL' });
  p.finish();
});

test('GET_CONFIG: nothing is a refusal, more or less than was asked for is no reply', async () => {
  for (const [size, code] of [
    [0, 'REFUSED'],
    [15, 'PROTOCOL'],
    [17, 'PROTOCOL'],
  ] as const) {
    const p = new Pair({
      reply: ({ request }) => (request === REQUEST.GET_CONFIG ? new Uint8Array(size) : undefined),
    });
    await p.open();
    await assert.rejects(p.during(p.frontend.readConfig(0, 4)), { code });
    p.finish();
  }
  const p = new Pair();
  await p.open();
  await assert.rejects(p.during(p.frontend.readConfig(0, 257)), RangeError);
  await assert.rejects(p.during(p.frontend.writeConfig(250, new Uint8Array(7))), RangeError);
  assert.equal((await p.during(p.frontend.readConfig(0, 256))).length, 256);
  p.finish();
});

test('SET_VRING_ERR: a queue that the back-end says is broken needs a reset, which mends it', async () => {
  const taken: number[] = [];
  const p = new Pair({
    reply: ({ request, fds }) => {
      if (request === REQUEST.SET_VRING_ERR) taken.push(...fds.splice(0));
      return undefined;
    },
  });
  await p.open();
  const event = p.os.adoptEvent(taken[0]!);
  event.signal();
  p.os.run();
  assert.equal(p.failures[0]?.code, 'NEEDS_RESET');
  const late: TransportError[] = [];
  p.frontend.onFailure((error) => late.push(error));
  assert.deepEqual(late, p.failures);
  event.close();
  await p.during(p.frontend.reset());
  const healthy: TransportError[] = [];
  p.frontend.onFailure((error) => healthy.push(error));
  assert.deepEqual(healthy, []);
  p.finish();
});

test('whatever a back-end says: promises are kept or rejected with a reason, and nothing stays behind', async () => {
  const payload = fc.oneof(
    fc.uint8Array({ maxLength: 40 }),
    fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }).map(encodeU64),
  );
  const reply = fc.oneof(
    { weight: 12, arbitrary: fc.constant(undefined) },
    fc.constant('none' as const),
    payload,
  );
  const noise = fc.tuple(fc.nat(60), fc.constantFrom(0, FLAGS.REPLY, FLAGS.NEED_REPLY), payload);
  await fc.assert(
    fc.asyncProperty(
      fc.array(reply, { minLength: 1, maxLength: 30 }),
      fc.array(fc.option(noise, { freq: 20 }), { minLength: 1, maxLength: 20 }),
      fc.bigInt({ min: 0n, max: (1n << 24n) - 1n }),
      async (replies, noises, bits) => {
        let asked = 0;
        const p: Pair = new Pair({
          protocolFeatures: bits,
          reply: () => {
            const extra = noises[asked % noises.length];
            if (extra) p.backend.channel.send(encodeMessage(...extra), []);
            return replies[asked++ % replies.length];
          },
        });
        const work = p
          .open()
          .then(() => p.during(p.frontend.readConfig(0, 8)))
          .then(() => p.during(p.frontend.reset()))
          .then(
            () => undefined,
            (error: unknown) => error,
          );
        let result: unknown = 'pending';
        void work.then((value) => {
          result = value;
        });
        for (let i = 0; i < 300 && result === 'pending'; i++) {
          p.os.run();
          await Promise.resolve();
          if (i % 10 === 9) p.clock.advance(1e9);
        }
        assert.ok(result === undefined || result instanceof TransportError, String(result));
        p.finish();
      },
    ),
    { numRuns: 300 },
  );
});
