import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loopback } from '../connect.js';
import { virtioMisc } from '../devices/misc/device.js';
import { serve } from '../serve.js';
import { defineDevice } from './define-device.js';
import type { MakeDevice } from './make-device.js';
import { DeviceBench } from './testing/device-bench.js';

const make = defineDevice({ id: 63, name: 'some', queues: [] });

test('loopback and the bench take what makes a device, and a device', () => {
  for (const given of [make, make(), virtioMisc()]) {
    assert.match(new DeviceBench(given).runner.device.name, /some|virtio-misc/);
    loopback(given).close();
  }
});

test('what is no device is refused by name, with what to do', () => {
  for (const [given, message] of [
    [() => virtioMisc(), /function that makes no device, but another function: give that one itself/],
    [{ id: 1 }, /takes a device, or what makes one: an object is neither/],
    [undefined, /undefined is neither/],
    [() => undefined, /makes no device, but undefined/],
    [async () => make(), /makes no device, but a promise/],
  ] as const) {
    const wrong = given as unknown as MakeDevice;
    assert.throws(() => loopback(wrong), { name: 'TypeError', message });
    assert.throws(() => new DeviceBench(wrong), { name: 'TypeError', message });
  }
});

test('the bench takes feature bits as numbers, and says so of names', () => {
  for (const wrong of ['X', -1, 1.5, 128])
    assert.throws(() => new DeviceBench(make, { features: [wrong as number] }), {
      name: 'TypeError',
      message: /^features takes a mask \(a bigint\) or numbers of bits, and .* is none$/,
    });
});

test('the bench sends no buffer without bytes, and says so of a request without a buffer', () => {
  const bench = new DeviceBench(defineDevice({ id: 63, name: 'some', queues: [{ name: 'q' }] }));
  bench.start();
  const empty = /^RangeError: a request has at least one buffer, and none without bytes/;
  assert.throws(() => bench.ask(0, new Uint8Array(), 0), empty);
  assert.throws(() => bench.drivers[0]!.send([new Uint8Array()]), empty);
  bench.ask(0, new Uint8Array(), 8);
  assert.equal(bench.drivers[0]!.send([new Uint8Array(1)]), true);
});

test('serve takes what makes a device, and says so of a device', async () => {
  const place = { vhostUser: '/nowhere/at/all' };
  await assert.rejects(serve(make() as unknown as MakeDevice, place), {
    name: 'TypeError',
    message: /serve takes what makes a device.*this is one device, and each front-end gets its own/,
  });
  await assert.rejects(serve(undefined as unknown as MakeDevice, place), /serve takes .*: not undefined/);
});
