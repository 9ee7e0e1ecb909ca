import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { PoliteDriver } from '../testing/polite-driver.js';
import { anyStep, RingModel } from '../testing/ring-model.js';
import { PackedDeviceQueue } from './device.js';
import { FRESH_BASE } from './layout.js';
import { Place } from './place.js';

interface Options {
  readonly size: number;
  /** Where the ring starts: 15 + 1 bits. */
  readonly place: number;
  readonly eventIdx: boolean;
  readonly indirect: boolean;
  readonly inOrder: boolean;
}

/** Where a side is after so many descriptors. */
function placeAfter(size: number, place: number, descriptors: number): number {
  const at = new Place(size, place);
  const rest = descriptors % (2 * size);
  at.advance(Math.min(rest, size));
  at.advance(rest - Math.min(rest, size));
  return at.bits;
}

function make(options: Options) {
  const { size, place } = options;
  const base = (place | (place << 16)) >>> 0;
  const driver = new PoliteDriver({ ...options, base, packed: true, bytes: 1 << 16 });
  const device = new PackedDeviceQueue(driver.device);
  const model = new RingModel({
    ...options,
    driver,
    device,
    unit: 'descriptor',
    first: 'everything',
    // The structure names no descriptor before the driver asks for one, and it asks for the next.
    owed: () => false,
    check(_published, popped, used) {
      const [next, last] = [placeAfter(size, place, popped), placeAfter(size, place, used)];
      assert.equal(device.base & 0xffff, next);
      // What waits for `publish` is not used yet, though its place is given.
      const ahead = new Place(size, device.base >>> 16).from(new Place(size, last));
      assert.ok(ahead <= size);
    },
  });
  return { driver, device, model };
}

const options: fc.Arbitrary<Options> = fc
  .record({
    size: fc.constantFrom(1, 2, 3, 5, 8, 31, 32),
    from: fc.nat(31),
    wrap: fc.boolean(),
    eventIdx: fc.boolean(),
    indirect: fc.boolean(),
    inOrder: fc.boolean(),
  })
  .map(({ from, wrap, ...rest }) => ({ ...rest, place: (from % rest.size) | (wrap ? 0x8000 : 0) }));

test('2.8.21, 2.8.22: two ends that do anything in any order agree with a few arrays, from any place in the ring', () => {
  fc.assert(
    fc.property(options, fc.array(anyStep, { minLength: 20, maxLength: 300, size: 'max' }), (made, steps) => {
      const { model } = make(made);
      for (const now of steps) model.step(now);
      model.finish();
    }),
    { numRuns: 600 },
  );
});

for (const eventIdx of [false, true]) {
  for (const size of [3, 4]) {
    const name = `${eventIdx ? 'with' : 'without'} EVENT_IDX, ${size} descriptors`;
    test(`2.8.1: 50000 chains, with thousands of wraps, each woken for and answered, ${name}`, () => {
      const { driver, device } = make({ size, place: 0x8000, eventIdx, indirect: false, inOrder: false });
      const { queue } = driver;
      let sent = 0;
      let popped = 0;
      let received = 0;
      let kicked = true;
      let interrupted = true;
      while (received < 50_000) {
        // A driver and a device that do nothing unless they are woken: a wakeup that is lost stops the loop.
        assert.ok(kicked || interrupted, `nobody is awake after ${received} chains`);
        if (interrupted) {
          interrupted = false;
          queue.disableInterrupts();
          for (let used = queue.reap(); used !== undefined; used = queue.reap()) received += 1;
          assert.equal(queue.enableInterrupts(), false);
          const buffer = { address: driver.device.descriptorArea, length: 1 + (sent % 3) };
          for (let n = 0; n < 1 + (sent % size) && queue.free > 0; n++) {
            const readable = new Array<typeof buffer>(1 + (sent % Math.min(queue.free, 3))).fill(buffer);
            assert.ok(queue.add(readable, [], { readable, writable: [] }));
            sent += 1;
          }
          kicked = driver.publish() || kicked;
        }
        if (kicked) {
          kicked = false;
          device.disableKicks();
          for (let chain = device.pop(); chain !== undefined; chain = device.pop()) {
            assert.equal(device.inFlight, 1);
            assert.ok(++popped <= sent, 'more chains than were sent');
            device.push(chain);
          }
          assert.equal(device.enableKicks(), false);
          interrupted = device.publish();
        }
      }
      assert.notEqual(device.base, FRESH_BASE + 1);
    });
  }
}
