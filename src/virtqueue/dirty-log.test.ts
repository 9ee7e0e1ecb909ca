import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { GuestMemory } from '../memory/guest-memory.js';
import { PackedDeviceQueue } from './packed/device.js';
import { SplitDeviceQueue } from './split/device.js';
import { PoliteDriver } from './testing/polite-driver.js';
import { anyStep, RingModel } from './testing/ring-model.js';
import { WatchedView } from './testing/watched-view.js';

/** A ring whose device's end has a memory of its own, over the same bytes, where each write is seen. */
function make(options: {
  size: number;
  packed: boolean;
  eventIdx: boolean;
  indirect: boolean;
  inOrder: boolean;
}) {
  const driver = new PoliteDriver({ ...options, bytes: 1 << 16 });
  const memory = new GuestMemory();
  const { start, view } = driver.memory.regions[0]!;
  const written = new Set<number>();
  const after = (kind: string, offset: number, length: number): void => {
    if (kind !== 'write' && kind !== 'store') return;
    for (let i = 0; i < length; i++) written.add(start + offset + i);
  };
  memory.add({ start, view: new WatchedView(view, { after }) });
  const ring = { ...driver.device, memory };
  const device = options.packed ? new PackedDeviceQueue(ring) : new SplitDeviceQueue(ring);
  const model = new RingModel({
    ...options,
    driver,
    device,
    unit: options.packed ? 'descriptor' : 'chain',
    first: options.packed ? 'everything' : 'entry 0',
    owed: () => false,
    check() {},
  });
  return { memory, model, written };
}

const rings = fc.record({
  size: fc.constantFrom(1, 4, 8),
  packed: fc.boolean(),
  eventIdx: fc.constant(false),
  indirect: fc.boolean(),
  inOrder: fc.boolean(),
});
const steps = fc.array(fc.tuple(anyStep, fc.nat(20)), { minLength: 20, maxLength: 150, size: 'max' });

test('2.7, 2.8: a device marks all that it writes while it is logged, rings and buffers, and nothing else, switched at any time', () => {
  fc.assert(
    fc.property(rings, steps, (options, acts) => {
      const { memory, model, written } = make(options);
      const marked = new Set<number>();
      const log = {
        wrote(address: number, length: number) {
          assert.ok(length > 0);
          for (let i = 0; i < length; i++) marked.add(address + i);
        },
      };
      const compare = (): void => {
        if (memory.dirtyLog !== undefined) assert.deepEqual(marked, written);
        marked.clear();
        written.clear();
      };
      for (const [step, choice] of acts) {
        if (choice < 2) memory.dirtyLog = choice === 0 ? log : undefined;
        model.step(step);
        compare();
      }
      memory.dirtyLog = log;
      model.finish();
      compare();
    }),
    { numRuns: 200 },
  );
});
