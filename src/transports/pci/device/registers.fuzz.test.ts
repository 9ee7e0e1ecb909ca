import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { PoliteDriver } from '../../../virtqueue/testing/polite-driver.js';
import * as pci from '../pci-registers.js';
import { FunctionBench } from '../testing/function-bench.js';
import { ProbeDevice } from '../testing/probe-device.js';
import { access, apply, options } from '../testing/rude-driver.js';
import * as virtio from '../virtio-pci.js';

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

test('the line is asserted exactly when ISR is not empty, MSI-X off, interrupts on and the function bus master', () => {
  fc.assert(
    fc.property(options, fc.array(access, { maxLength: 40 }), (chosen, steps) => {
      const bench = new FunctionBench(new ProbeDevice(), chosen);
      for (const step of steps) {
        apply(bench, step);
        const command = bench.config(pci.PCI_COMMAND, 2);
        const pending = (bench.config(pci.PCI_STATUS, 2) & pci.PCI_STATUS_INTERRUPT) !== 0;
        const heard = command & (pci.PCI_COMMAND_INTX_DISABLE | pci.PCI_COMMAND_MASTER);
        assert.equal(bench.line, pending && heard === pci.PCI_COMMAND_MASTER);
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
