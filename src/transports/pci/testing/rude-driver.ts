import fc from 'fast-check';
import { RING_FEATURES, VIRTIO_F_RING_RESET } from '../../../virtio/features.js';
import { PoliteDriver } from '../../../virtqueue/testing/polite-driver.js';
import type { PciOptions } from '../device/pci-host.js';
import type { FunctionBench } from './function-bench.js';

/** One access of a driver that knows no rules. */
export type Access =
  | { kind: 'config'; offset: number; bytes: Uint8Array }
  | { kind: 'bar'; bar: number; offset: number; bytes: Uint8Array }
  | { kind: 'start' }
  | { kind: 'status'; value: number }
  | { kind: 'reset' }
  | { kind: 'memory'; here: boolean };

const bytes = fc.uint8Array({ minLength: 1, maxLength: 12 });
/** Any of those. */
export const access: fc.Arbitrary<Access> = fc.oneof(
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
/** Functions to try it on. */
export const options: fc.Arbitrary<PciOptions> = fc.constantFrom<PciOptions>(
  {},
  { vectors: 0 },
  { vectors: 1, maskedAtReset: false },
  { kind: 'io', bar: 3 },
);

/** Does one, and lets all come to rest. */
export function apply(bench: FunctionBench, step: Access): void {
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
