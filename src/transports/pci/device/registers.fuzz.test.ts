import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { RING_FEATURES, VIRTIO_F_RING_RESET } from '../../../virtio/features.js';
import { PoliteDriver } from '../../../virtqueue/testing/polite-driver.js';
import * as pci from '../pci-registers.js';
import { FunctionBench } from '../testing/function-bench.js';
import { ProbeDevice } from '../testing/probe-device.js';
import * as virtio from '../virtio-pci.js';
import type { PciOptions } from './pci-host.js';

/** One access of a driver that knows no rules. */
type Access =
  | { kind: 'config'; offset: number; bytes: Uint8Array }
  | { kind: 'bar'; bar: number; offset: number; bytes: Uint8Array }
  | { kind: 'start' }
  | { kind: 'status'; value: number }
  | { kind: 'reset' }
  | { kind: 'memory'; here: boolean };

const bytes = fc.uint8Array({ minLength: 1, maxLength: 12 });
const access: fc.Arbitrary<Access> = fc.oneof(
  fc.record({
    kind: fc.constant('config' as const),
    offset: fc.oneof(fc.constantFrom(4, 5, 0x10, 0x14), fc.nat(260)),
    bytes,
  }),
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('bar' as const),
      bar: fc.nat(6),
      offset: fc.oneof(fc.nat(0x60), fc.nat(0x1010)),
      bytes,
    }),
  },
  fc.record({ kind: fc.constant('status' as const), value: fc.nat(255) }),
  fc.constant({ kind: 'start' as const }),
  fc.constant({ kind: 'reset' as const }),
  fc.record({ kind: fc.constant('memory' as const), here: fc.boolean() }),
);
const options: fc.Arbitrary<PciOptions> = fc.constantFrom<PciOptions>(
  {},
  { vectors: 0 },
  { vectors: 1, maskedAtReset: false },
  { kind: 'io', bar: 3 },
);

function apply(bench: FunctionBench, step: Access): void {
  const { function: target } = bench;
  switch (step.kind) {
    case 'config':
      target.readConfig(step.offset, step.bytes.length);
      target.writeConfig(step.offset, step.bytes);
      break;
    case 'bar':
      target.readBar(step.bar, step.offset, step.bytes.length);
      target.writeBar(step.bar, step.offset, step.bytes);
      break;
    case 'status':
      bench.setCommon('device_status', step.value);
      break;
    case 'start':
      bench.start(RING_FEATURES | VIRTIO_F_RING_RESET);
      break;
    case 'reset':
      target.reset(() => {});
      break;
    case 'memory': {
      const { memory } = bench.driver;
      if (step.here && memory.regions.length === 0) memory.add(new PoliteDriver().memory.regions[0]!);
      else if (!step.here) memory.clear();
      break;
    }
  }
  bench.clock.advance(10);
  bench.settle();
}

/** Everything that a function is, but for what reading changes. */
function image(bench: FunctionBench, read: (bar: number, offset: number) => number): number[] {
  return bench.function.bars.flatMap(({ index }) =>
    Array.from({ length: 0x80 }, (_, offset) => read(index, offset)),
  );
}

test('whatever a driver writes wherever, nothing is thrown, and a reset heals', () => {
  fc.assert(
    fc.property(options, fc.array(access, { maxLength: 60 }), (chosen, steps) => {
      const bench = new FunctionBench(new ProbeDevice(), chosen);
      for (const step of steps) apply(bench, step);

      bench.function.reset(() => {});
      const { memory } = bench.driver;
      memory.clear();
      const driver = new PoliteDriver();
      memory.add(driver.memory.regions[0]!);
      bench.setConfig(pci.PCI_COMMAND, 2, 7);
      bench.setCommon('device_status', 0);
      assert.equal(bench.negotiate(), 11);
      bench.enableQueue(0, driver.device);
      bench.driverOk();
      driver.send([Uint8Array.of(7, 8)], [2]);
      driver.publish();
      bench.write(virtio.VIRTIO_PCI_CAP_NOTIFY_CFG, 0, 2, 0);
      assert.deepEqual([...(driver.receive()?.bytes ?? [])], [8, 7]);
    }),
    { numRuns: 300 },
  );
});

test('the line is asserted exactly when ISR is not empty, MSI-X off and interrupts on', () => {
  fc.assert(
    fc.property(options, fc.array(access, { maxLength: 40 }), (chosen, steps) => {
      const bench = new FunctionBench(new ProbeDevice(), chosen);
      for (const step of steps) {
        apply(bench, step);
        const command = bench.config(pci.PCI_COMMAND, 2);
        const pending = (bench.config(pci.PCI_STATUS, 2) & pci.PCI_STATUS_INTERRUPT) !== 0;
        assert.equal(bench.line, pending && (command & pci.PCI_COMMAND_INTX_DISABLE) === 0);
      }
    }),
    { numRuns: 200 },
  );
});

test('a read of any width sees the same as single bytes do', () => {
  const quiet = access.filter(({ kind }) => kind !== 'memory');
  fc.assert(
    fc.property(
      options,
      fc.array(quiet, { maxLength: 30 }),
      fc.integer({ min: 2, max: 9 }),
      (chosen, steps, width) => {
        const bench = new FunctionBench(new ProbeDevice(), chosen);
        for (const step of steps) apply(bench, step);
        // Reading it clears it.
        void bench.isr;
        const single = image(bench, (bar, offset) => bench.function.readBar(bar, offset, 1)[0]!);
        const wide = image(bench, (bar, offset) => {
          const start = Math.floor(offset / width) * width;
          return bench.function.readBar(bar, start, width)[offset - start]!;
        });
        assert.deepEqual(wide, single);
      },
    ),
    { numRuns: 100 },
  );
});
