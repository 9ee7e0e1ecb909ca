import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TransportError } from '../../../virtio/driver-transport.js';
import { VIRTIO_F_VERSION_1 } from '../../../virtio/features.js';
import { FLAGS, PROTOCOL_F, REQUEST } from '../messages.js';
import { ALL, during, openProbe, Pair, RING } from '../testing/frontend-bench.js';
import { ProbeDevice } from '../testing/probe-device.js';

const EVENTS: readonly number[] = [REQUEST.SET_VRING_KICK, REQUEST.SET_VRING_CALL, REQUEST.SET_VRING_ERR];

test('a back-end that offers it: no event is made, and kicks are messages with 0 in num, one under way at a time', async () => {
  const p = new Pair({ features: VIRTIO_F_VERSION_1 }, { inband: true });
  await p.during(p.frontend.reset());
  await p.during(p.frontend.acceptFeatures(VIRTIO_F_VERSION_1));
  const open = p.os.openFds;
  const kick = await p.during(p.frontend.startQueue(0, RING, 0, () => {}));
  assert.equal(p.os.openFds, open);
  kick();
  p.os.run();
  assert.ok(!p.backend.requests.includes(REQUEST.VRING_KICK), 'a kick would start the ring');
  await p.during(p.frontend.start());
  p.os.run();
  await Promise.resolve();
  p.backend.heard.length = 0;
  for (let i = 0; i < 5; i++) kick();
  for (let i = 0; i < 10; i++) {
    p.os.run();
    await Promise.resolve();
  }
  assert.deepEqual(p.backend.requests, [REQUEST.VRING_KICK, REQUEST.VRING_KICK]);
  for (const { flags, payload } of p.backend.heard) {
    assert.equal(flags, FLAGS.VERSION | FLAGS.NEED_REPLY);
    assert.deepEqual([payload.getUint32(0, true), payload.getUint32(4, true)], [0, 0]);
  }
  assert.ok(!p.backend.requests.some((request) => EVENTS.includes(request)));
  p.finish();
});

test('it is accepted only where it is wished, and with all that it needs', async () => {
  for (const [inband, protocolFeatures] of [
    [false, ALL],
    [true, ALL & ~PROTOCOL_F.BACKEND_REQ],
    [true, ALL & ~PROTOCOL_F.REPLY_ACK],
    [true, ALL & ~PROTOCOL_F.INBAND_NOTIFICATIONS],
  ] as const) {
    const p = new Pair({ features: VIRTIO_F_VERSION_1, protocolFeatures }, { inband });
    await p.open();
    assert.equal(p.frontend.protocolFeatures & PROTOCOL_F.INBAND_NOTIFICATIONS, 0n);
    assert.equal(p.backend.requests.filter((request) => EVENTS.includes(request)).length, 3);
    p.finish();
  }
});

test('with our own back-end: requests, a broken ring, a reset that mends it, a pause', async () => {
  const device = new ProbeDevice(2);
  const warnings: string[] = [];
  const { os, driver, frontend, clock } = await openProbe(device, (line) => warnings.push(line), true);
  assert.notEqual(frontend.protocolFeatures & PROTOCOL_F.INBAND_NOTIFICATIONS, 0n);
  const failures: TransportError[] = [];
  const answers = await during(
    os,
    Promise.all(Array.from({ length: 200 }, (_, i) => driver.queues[i % 2]!.request(Uint8Array.of(i), 1))),
  );
  for (const [i, answer] of answers.entries()) assert.deepEqual([...answer], [i]);
  await during(os, frontend.pause());
  await during(os, frontend.resume());
  assert.deepEqual([...(await during(os, driver.queues[0]!.request(Uint8Array.of(9), 1)))], [9]);
  frontend.onFailure((error) => failures.push(error));
  device.queueNotified = () => {
    throw new Error('on purpose');
  };
  driver.queues[0]!.request(Uint8Array.of(1), 1).catch(() => {});
  for (let i = 0; i < 10; i++) {
    os.run();
    await Promise.resolve();
  }
  assert.equal(failures[0]?.code, 'NEEDS_RESET');
  assert.ok(failures[0] instanceof TransportError);
  await during(os, driver.close());
  os.run();
  assert.equal(os.openFds, 0);
  assert.equal(clock.open, 0);
});
