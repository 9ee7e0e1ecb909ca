import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DistantMemory } from '../../../memory/distant-memory.js';
import { ALL_RING_FEATURES, VIRTIO_F_RING_PACKED, VIRTIO_F_VERSION_1 } from '../../../virtio/features.js';
import { FunctionBench } from '../testing/function-bench.js';
import { ProbeDevice } from '../testing/probe-device.js';
import * as virtio from '../virtio-pci.js';

const FEATURES = VIRTIO_F_VERSION_1 | VIRTIO_F_RING_PACKED;
const NEEDS_RESET = virtio.VIRTIO_CONFIG_S_NEEDS_RESET;
const PACKED = { packed: true, ringFeatures: ALL_RING_FEATURES };

function offered(bench: FunctionBench): boolean {
  bench.setCommon('device_feature_select', 1);
  return (bench.common('device_feature') & 4) !== 0;
}

test('4.1.4.3.2: with RING_PACKED a queue has any size that fits, and is served', () => {
  for (const size of [1, 3, 24, 63, 64]) {
    const bench = new FunctionBench(new ProbeDevice(), {}, size, PACKED);
    assert.ok(offered(bench));
    bench.start(FEATURES);
    assert.equal(bench.common('queue_size'), size);
    for (let n = 0; n < 9; n++) {
      bench.driver.send([], [4]);
      bench.notify();
      assert.ok(bench.driver.receive() !== undefined, `request ${n} of a queue of ${size}`);
    }
    assert.deepEqual(bench.warnings, []);
  }
});

test('4.1.4.3.2: without it a size that is no power of two is refused as before', () => {
  const bench = new FunctionBench(new ProbeDevice(), {}, 24, PACKED);
  bench.start(VIRTIO_F_VERSION_1);
  assert.match(bench.warnings[0]!, /queue size 24 is no power of two in 1\.\.64/);
  assert.equal(bench.status & NEEDS_RESET, NEEDS_RESET);
});

test('2.8: a size that does not fit is refused with RING_PACKED too', () => {
  const bench = new FunctionBench(new ProbeDevice(), {}, 8, PACKED);
  bench.negotiate(FEATURES);
  bench.enableQueue(0, { size: 65 });
  bench.driverOk();
  assert.match(bench.warnings[0]!, /queue size 65 is not in 1\.\.64/);
});

test('2.8: a driver that keeps memory to itself has packed rings too, which are asked for', () => {
  const asked: (() => void)[] = [];
  const later = (act: () => void, done: (there: boolean) => void): void =>
    void asked.push(() => {
      act();
      done(true);
    });
  const distant: DistantMemory = {
    read: (address, into, done) => later(() => bench.driver.memory.read(address, into), done),
    write: (address, from, done) => later(() => bench.driver.memory.write(address, from), done),
  };
  const settle = (): void => {
    while (asked.length > 0) asked.shift()!();
  };
  const bench: FunctionBench = new FunctionBench(new ProbeDevice(), {}, 7, { ...PACKED, distant });
  assert.ok(offered(bench));
  bench.start(FEATURES);
  settle();
  for (let n = 0; n < 20; n++) {
    bench.driver.send([Uint8Array.of(n, 2)], [2]);
    bench.notify();
    settle();
    assert.deepEqual(bench.driver.receive()?.bytes, Uint8Array.of(2, n));
  }
  assert.deepEqual(bench.warnings, []);
});
