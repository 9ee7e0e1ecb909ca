import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GuestAddress } from '../../../memory/address.js';
import { defineDevice } from '../../../virtio/define-device.js';
import type { VirtioDevice } from '../../../virtio/device.js';
import { VIRTIO_F_RING_RESET, VIRTIO_F_VERSION_1 } from '../../../virtio/features.js';
import { le32, struct } from '../../../virtio/struct.js';
import { structQueue } from '../../../virtio/struct-queue.js';
import type { Chain } from '../../../virtqueue/chain.js';
import * as pci from '../pci-registers.js';
import { FunctionBench } from '../testing/function-bench.js';
import { ProbeDevice } from '../testing/probe-device.js';

const Count = struct({ n: le32 });

/** All of guest memory, to see that nobody touched it. */
function memory(bench: FunctionBench): Uint8Array {
  const [region] = bench.driver.memory.regions;
  const all = new Uint8Array(region!.view.length);
  bench.driver.memory.read(region!.start, all);
  return all;
}

function master(bench: FunctionBench, on: boolean): void {
  bench.setConfig(
    pci.PCI_COMMAND,
    2,
    pci.PCI_COMMAND_IO | pci.PCI_COMMAND_MEMORY | (on ? pci.PCI_COMMAND_MASTER : 0),
  );
}

/** A bench whose device finishes a request when told, with all that it then does while bus mastering is off. */
async function finishedWhileOff(bench: FunctionBench, finish: () => void): Promise<void> {
  master(bench, false);
  const before = memory(bench);
  const { raised, lineChanges } = bench;
  const sent = raised.length;
  finish();
  await new Promise(setImmediate);
  bench.settle();
  assert.deepEqual(memory(bench), before);
  assert.deepEqual([raised.length, bench.lineChanges], [sent, lineChanges]);
}

function slow(handle: (chain: Chain) => Promise<void>): FunctionBench {
  const device = defineDevice({ id: 63, name: 'slow', queues: [{ name: 'q', handle }] })();
  const bench = new FunctionBench(device, {}, 64);
  bench.enableMsix(0, 1);
  bench.start();
  return bench;
}

test('PCI 6.2.2: an answer that comes while bus mastering is off is written, and told, once it is on', async () => {
  let finish: () => void = () => {};
  let served = 0;
  const device = defineDevice({
    id: 63,
    name: 'slow',
    queues: [
      structQueue({
        name: 'q',
        request: Count,
        response: Count,
        async handle({ n }) {
          served += 1;
          await new Promise<void>((resolve) => {
            finish = resolve;
          });
          return { n: n + 1 };
        },
      }),
    ],
  })();
  for (const msix of [true, false]) {
    const bench = new FunctionBench(device);
    bench.start();
    if (msix) bench.enableMsix(0, 1);
    assert.equal(bench.request(Count.encode({ n: 41 }), 4), undefined);
    served = 0;
    await finishedWhileOff(bench, finish);
    assert.equal(bench.driver.receive(), undefined);
    master(bench, true);
    assert.equal(Count.decode(bench.driver.receive()!.bytes).n, 42);
    assert.deepEqual([bench.raised, bench.line, served], msix ? [[1], false, 0] : [[], true, 0]);
    assert.deepEqual(bench.warnings, []);
  }
});

test('PCI 6.2.2: a request that has to be read while bus mastering is off is served anew once it is on', async () => {
  let go: () => void = () => {};
  const seen: string[] = [];
  const bench = slow(async (chain) => {
    seen.push('begun');
    chain.write(Uint8Array.of(0xaa));
    await new Promise<void>((resolve) => {
      go = resolve;
    });
    chain.write(chain.readRest());
    seen.push('done');
  });
  assert.equal(bench.request(Uint8Array.of(1, 2, 3), 4), undefined);
  await finishedWhileOff(bench, go);
  master(bench, true);
  bench.settle();
  go();
  await new Promise(setImmediate);
  assert.deepEqual([...bench.driver.receive()!.bytes], [0xaa, 1, 2, 3]);
  assert.deepEqual([seen, bench.warnings, bench.raised], [['begun', 'begun', 'done'], [], [1]]);
});

test('PCI 6.2.2: what is written while bus mastering is off is kept in bounds: a request with more is served anew', async () => {
  let go: () => void = () => {};
  let begun = 0;
  // Bytes of one write, and how often: more than is kept for a ring.
  const [size, times] = [512 * 1024, 40];
  const all = new Uint8Array(size).fill(7);
  const bench = slow(async (chain) => {
    begun += 1;
    await new Promise<void>((resolve) => {
      go = resolve;
    });
    for (let i = 0; i < times; i++) chain.write(all);
  });
  // The same room again and again: what counts is how much is written.
  const [region] = bench.driver.memory.regions;
  const address = (region!.start + size) as GuestAddress;
  const { queue } = bench.driver;
  const writable = Array.from({ length: times }, () => ({ address, length: size }));
  queue.add([], writable, { readable: [], writable });
  bench.notify();
  await finishedWhileOff(bench, go);
  master(bench, true);
  bench.settle();
  go();
  await new Promise(setImmediate);
  assert.equal(queue.reap()?.written, times * size);
  assert.equal(begun, 2);
  assert.deepEqual(bench.warnings, []);
});

test('PCI 6.2.2: kicks, new queues and queue resets while bus mastering is off have their effect once it is on', () => {
  const device = new ProbeDevice();
  const bench = new FunctionBench(device);
  bench.start(VIRTIO_F_VERSION_1 | VIRTIO_F_RING_RESET);
  master(bench, false);
  bench.driver.send([Uint8Array.of(1, 2)], [2]);
  bench.notify();
  bench.setCommon('queue_select', 0);
  bench.setCommon('queue_reset', 1);
  assert.equal(bench.common('queue_reset'), 0);
  const before = memory(bench);
  bench.enableQueue(0);
  bench.notify();
  assert.deepEqual(memory(bench), before);
  device.calls.length = 0;
  master(bench, true);
  assert.deepEqual([...bench.driver.receive()!.bytes], [2, 1]);
  assert.ok(device.calls.includes('notified 0'));
});

test('PCI 6.2.2: a reset while bus mastering is off forgets what waits', async () => {
  let finish: () => void = () => {};
  const bench = slow(async (chain) => {
    await new Promise<void>((resolve) => {
      finish = resolve;
    });
    chain.write(Uint8Array.of(1));
  });
  assert.equal(bench.request(Uint8Array.of(1), 1), undefined);
  await finishedWhileOff(bench, finish);
  const before = memory(bench);
  bench.setCommon('device_status', 0);
  assert.equal(bench.status, 0);
  master(bench, true);
  bench.settle();
  assert.deepEqual(memory(bench), before);
  assert.deepEqual(bench.raised, []);
});

test('PCI 6.2.2: a change of the configuration while bus mastering is off is told once it is on', () => {
  const device: VirtioDevice & { host?: { configChanged(): void } | undefined } = new ProbeDevice();
  const bench = new FunctionBench(device);
  bench.start();
  master(bench, false);
  device.host!.configChanged();
  assert.equal(bench.line, false);
  master(bench, true);
  assert.equal(bench.line, true);
});
