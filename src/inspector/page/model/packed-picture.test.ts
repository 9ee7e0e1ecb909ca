import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { PackedSample } from '../../protocol.js';
import { packedPicture } from './packed-picture.js';

const NEXT = 1;
const AVAIL = 0x80;
const USED = 0x8000;

/** A place that goes on, with its wrap counter. */
class Place {
  count = 0;
  readonly #size: number;

  constructor(size: number) {
    this.#size = size;
  }

  get offset(): number {
    return this.count % this.#size;
  }

  get wrap(): boolean {
    return Math.floor(this.count / this.#size) % 2 === 0;
  }

  get now(): { offset: number; wrap: boolean } {
    return { offset: this.offset, wrap: this.wrap };
  }
}

/** A packed ring as the specification has both sides write it, with chains that are handed back in order or not. */
class PackedModel {
  readonly flags: number[];
  readonly #size: number;
  readonly driver: Place;
  readonly available: Place;
  readonly used: Place;
  #waiting: number[] = [];
  #taken: number[] = [];

  constructor(size: number) {
    this.#size = size;
    this.flags = new Array(size).fill(0);
    this.driver = new Place(size);
    this.available = new Place(size);
    this.used = new Place(size);
  }

  add(length: number): void {
    if (this.driver.count + length - this.used.count > this.#size) return;
    for (let i = 0; i < length; i++, this.driver.count++)
      this.flags[this.driver.offset] = (this.driver.wrap ? AVAIL : USED) | (i + 1 < length ? NEXT : 0);
    this.#waiting.push(length);
  }

  take(): void {
    const length = this.#waiting.shift();
    if (length === undefined) return;
    this.available.count += length;
    this.#taken.push(length);
  }

  giveBack(which: number): void {
    if (this.#taken.length === 0) return;
    const [length] = this.#taken.splice(which % this.#taken.length, 1);
    this.flags[this.used.offset] = this.used.wrap ? AVAIL | USED : 0;
    this.used.count += length!;
  }

  sample(): PackedSample {
    const event = { offset: 0, wrap: true, flags: 0 };
    return {
      layout: 'packed',
      connection: 1,
      queue: 0,
      time: 0,
      size: this.#size,
      first: 0,
      entries: this.#size,
      descriptors: this.flags.map((flags, id) => [0, 0, id, flags]),
      available: this.available.now,
      used: this.used.now,
      driverEvent: event,
      deviceEvent: event,
      inFlight: [],
      inFlightCount: 0,
      waiting: 0,
      wants: { interrupts: true, kicks: true },
    };
  }
}

const step = fc.oneof(
  fc.record({ what: fc.constant('add' as const), n: fc.integer({ min: 1, max: 3 }) }),
  fc.record({ what: fc.constant('take' as const), n: fc.nat(0) }),
  fc.record({ what: fc.constant('giveBack' as const), n: fc.nat(5) }),
);

test('2.8: what is available and what the device has, whatever both sides did, over many laps', () => {
  fc.assert(
    fc.property(fc.integer({ min: 3, max: 9 }), fc.array(step, { maxLength: 120 }), (size, steps) => {
      const model = new PackedModel(size);
      for (const { what, n } of steps) model[what](n);
      const [area] = packedPicture(model.sample(), undefined);
      const said = area!.cells.map(({ state }) => state);
      const slots = (from: Place, to: Place): number[] =>
        Array.from({ length: to.count - from.count }, (_, i) => (from.count + i) % size);
      const taken = new Set(slots(model.used, model.available));
      const available = new Set(slots(model.available, model.driver));
      said.forEach((state, slot) => {
        if (taken.has(slot)) assert.equal(state, 'taken', `slot ${slot} of ${said}`);
        else if (available.has(slot)) assert.equal(state, 'available', `slot ${slot} of ${said}`);
        else assert.ok(state === 'free' || state === 'used', `slot ${slot} of ${said}`);
      });
    }),
    { numRuns: 500 },
  );
});

test('2.8.1: places are told with their wrap counters, and what each side wants to hear of', () => {
  const model = new PackedModel(4);
  for (let i = 0; i < 5; i++) {
    model.add(1);
    model.take();
    model.giveBack(0);
  }
  const [area] = packedPicture(
    {
      ...model.sample(),
      deviceEvent: { offset: 1, wrap: false, flags: 2 },
      driverEvent: { offset: 0, wrap: true, flags: 1 },
    },
    undefined,
  );
  assert.deepEqual(
    area!.numbers.map(({ name, value }) => `${name}: ${value}`),
    ['next available: 1 wrap 0', 'next used: 1 wrap 0', 'kick: at 1 wrap 0', 'interrupt: never'],
  );
  assert.deepEqual(
    area!.markers.map(({ kind, slot }) => [kind, slot]),
    [
      ['driver', 1],
      ['device', 1],
      ['event', 1],
    ],
  );
});

test('a ring that nobody wrote to has nothing in it', () => {
  const [area] = packedPicture(new PackedModel(8).sample(), undefined);
  assert.ok(area!.cells.every(({ state }) => state === 'free'));
});
