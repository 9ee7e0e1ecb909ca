import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { GuestAddress } from '../memory/address.js';
import { GuestMemory } from '../memory/guest-memory.js';
import { MappedView } from '../memory/mapped-view.js';
import { PackedDeviceQueue } from './packed/device.js';
import { packedRegionSize } from './packed/inflight-layout.js';
import { SplitDeviceQueue } from './split/device.js';
import { splitRegionSize } from './split/inflight-layout.js';
import { Killed, MortalDevice, type MortalOptions } from './testing/mortal-device.js';
import { PackedRingWriter } from './testing/packed-ring-writer.js';
import { PoliteDriver } from './testing/polite-driver.js';
import { RingWriter } from './testing/ring-writer.js';
import { WatchedView } from './testing/watched-view.js';
import type { Virtqueue } from './virtqueue.js';
import { VirtqueueError } from './virtqueue-error.js';

/** What both ends do in turn: it fills rings, wraps them, and answers in another order than was asked. */
function script(mortal: MortalDevice): (() => void)[] {
  const steps: (() => void)[] = [];
  for (let round = 0; round < 6; round++) {
    steps.push(() => {
      mortal.send(1 + (round % 2), 1);
      mortal.send(1, 0);
      mortal.send(1, 1 + (round % 3));
      mortal.publish();
    });
    steps.push(() => void mortal.pop());
    steps.push(() => mortal.push(round));
    steps.push(() => void mortal.pop());
    steps.push(() => void mortal.pop());
    steps.push(() => mortal.push(round + 1));
    // Taken while something was pushed that is not shown yet.
    steps.push(() => void mortal.pop());
    steps.push(() => mortal.push(round));
    if (round % 2 === 1) steps.push(() => mortal.show());
    if (round % 3 !== 2) steps.push(() => mortal.receive());
  }
  return steps;
}

/** Where a ring of 4 is, in a memory of its own with room for more. */
function ringOfFour() {
  const view = new MappedView(new ArrayBuffer(4096));
  const memory = new GuestMemory();
  memory.add({ start: 0 as GuestAddress, view });
  const place = {
    memory,
    size: 4,
    descriptorArea: 0 as GuestAddress,
    driverArea: 256 as GuestAddress,
    deviceArea: 512 as GuestAddress,
  };
  return { view, place };
}

/** Lets the steps happen, with a device killed at these stores, one after the other. @returns how many there were. */
function live(
  options: MortalOptions,
  kills: readonly number[],
  steps: (mortal: MortalDevice) => (() => void)[] = script,
): { stores: number; killed: number } {
  const mortal = new MortalDevice({ bytes: 1 << 13, ...options });
  let killed = 0;
  const arm = (): void => {
    const next = kills[killed];
    mortal.killAt = next === undefined ? Number.POSITIVE_INFINITY : mortal.stores + next;
  };
  const attempt = (act: () => void): void => {
    try {
      act();
    } catch (error) {
      if (!(error instanceof Killed)) throw error;
      killed += 1;
      arm();
      // The driver goes on meanwhile, with what it got back.
      mortal.receive();
      while (killed % 2 === 0 && mortal.send(1, 2));
      mortal.publish();
      // The next one, which may be killed while it looks.
      attempt(() => mortal.checkAll());
    }
  };
  arm();
  for (const step of steps(mortal)) attempt(step);
  attempt(() => mortal.finish());
  if (killed > 0) attempt(() => mortal.finish());
  const { stores } = mortal;
  mortal.killAt = Number.POSITIVE_INFINITY;
  mortal.kill();
  mortal.finish();
  return { stores, killed };
}

const RINGS: readonly [name: string, options: MortalOptions][] = [
  ['split', { size: 8 }],
  ['split, in order', { size: 8, inOrder: true }],
  ['split, indirect, event indices, more entries', { size: 4, indirect: true, eventIdx: true, entries: 16 }],
  ['split, ours', { size: 8, ours: true }],
  ['split, ours, where indices go round', { size: 4, ours: true, base: 65530 }],
  [
    'split, ours, in order, not by words, more entries',
    { size: 8, ours: true, inOrder: true, entries: 9, byWords: false },
  ],
  ['packed', { packed: true, size: 7 }],
  ['packed, in order', { packed: true, size: 9, inOrder: true }],
  ['packed, ours', { packed: true, size: 7, ours: true }],
  [
    'packed, ours, more entries, not by words',
    { packed: true, size: 8, ours: true, entries: 9, byWords: false },
  ],
  ['packed, ours, in order', { packed: true, size: 9, ours: true, inOrder: true }],
  ['packed, ours, indirect', { packed: true, size: 5, ours: true, indirect: true, eventIdx: true }],
  [
    'packed, indirect, event indices, more entries',
    { packed: true, size: 5, indirect: true, eventIdx: true, entries: 7 },
  ],
  ['packed, not by words', { packed: true, size: 8, byWords: false }],
  ['split, not by words, in order', { size: 8, byWords: false, inOrder: true }],
];

for (const [name, options] of RINGS) {
  // Where it finds the most, and the next one is killed while it looks.
  const twice =
    name === 'split' || name === 'split, ours' || name === 'packed, in order' || name === 'packed, ours';
  test(`vhost-user Inflight I/O tracking: killed after any store, nothing is lost or twice: ${name}`, () => {
    const { stores } = live(options, []);
    assert.ok(stores > 30, `${stores}`);
    for (let first = 1; first <= stores; first++) {
      assert.equal(live(options, [first]).killed, 1, `${first}`);
      if (twice) for (let second = 1; second <= 24; second++) live(options, [first, second]);
    }
  });

  test(`vhost-user Inflight I/O tracking: killed again and again at any stores, nothing is lost or twice: ${name}`, () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 120 }), { maxLength: 12 }), (kills) => {
        live(options, kills);
      }),
    );
  });
}

/** Any steps: each number is one of them, and which chain it is about. */
const anySteps =
  (numbers: readonly number[]) =>
  (mortal: MortalDevice): (() => void)[] =>
    numbers.map((number) => () => {
      const which = Math.floor(number / 8);
      // Most often in order, as devices do.
      const acts = [
        () => void (mortal.send(1 + (which % 2), which % 3) && mortal.publish()),
        () => void mortal.pop(),
        () => void mortal.pop(),
        () => mortal.push(0),
        () => mortal.push(0),
        () => mortal.push(which),
        () => mortal.show(),
        () => mortal.receive(),
      ];
      acts[number % 8]!();
    });

test('vhost-user Inflight I/O tracking: killed at any stores of anything, nothing is lost or twice', () => {
  const numbers = fc.array(fc.nat(63), { maxLength: 80 });
  const kills = fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 6 });
  const ring = fc.record({
    packed: fc.boolean(),
    ours: fc.boolean(),
    inOrder: fc.integer({ min: 0, max: 3 }).map((each) => each === 0),
    size: fc.constantFrom(4, 8),
  });
  fc.assert(
    fc.property(ring, numbers, kills, (options, steps, stores) => {
      live(options, stores, anySteps(steps));
    }),
    { numRuns: 1500 },
  );
});

/** A region that was used: two are in flight, and one was handed back. */
function used(options: MortalOptions): MortalDevice {
  const mortal = new MortalDevice({ bytes: 1 << 13, ...options });
  for (let i = 0; i < 3; i++) mortal.send(1, 1);
  mortal.publish();
  for (let i = 0; i < 3; i++) mortal.pop();
  mortal.push(1);
  mortal.show();
  mortal.kill();
  return mortal;
}

const refusal = (text: RegExp) => (error: unknown) =>
  error instanceof VirtqueueError && error.code === 'INFLIGHT_REGION' && text.test(error.message);

const WRONG: readonly [packed: boolean, what: string, at: number, value: number, text: RegExp][] = [
  [false, 'features', 4, 1, /features that are not known/],
  [false, 'version', 8, 2 | (8 << 16), /version 2 of it is not known/],
  [false, 'desc_num', 8, 1 | (9 << 16), /says that it has 9 entries, and has 8/],
  [false, 'a used index that is far behind', 12, 0, /used index 4097 is 4097 ahead/],
  [
    false,
    'a list of the last batch that leaves the entries',
    12,
    9 | (4096 << 16),
    /list of those that were used last has entry 9/,
  ],
  [false, 'inflight', 16, 2, /entry 0 is marked with 2/],
  [false, 'counter', 16 + 12, -1, /counter of entry 0 is beyond 2\^53/],
  [false, 'one that was never made available', 16 + 16 * 5, 1, /3 are in flight, and 2 were made available/],
  [true, 'version', 8, 0xffff | (8 << 16), /version 65535/],
  [true, 'desc_num', 8, 1, /says that it has 0 entries/],
  [true, 'free_head', 12, 0x7fff, /list of free entries begins at 32767, of 8/],
  [true, 'used_idx', 16, 8 | (8 << 16), /used places are 8 \(1\)/],
  [true, 'used_wrap_counter', 20, 2, /used places are 2 \(2\)/],
  [true, 'a list of free entries that goes round', 32 + 32 * 7, 6 << 16, /comes round to 6/],
  [true, 'a list of free entries that leads to what is in flight', 32 + 32 * 7, 0, /comes round to 2/],
  [
    true,
    'a list of free entries that is too short',
    32 + 32 * 6,
    0xffff << 16,
    /1 of its entries are neither free nor/,
  ],
  [true, 'inflight', 32, 255, /marked with 255/],
  [true, 'num of none', 32 + 4, 1, /entry 0 begins 0 in a queue of 8/],
  [true, 'num of more than there are', 32 + 4, 1 | (9 << 16), /begins 9/],
  [true, 'last', 32 + 4, 2 | (2 << 16), /chain of entry 0 ends with 1, not 2/],
  [true, 'a chain through entries of another', 32, 1 | (4 << 16), /chain of entry 0 ends with 4, not 1/],
  [true, 'counter', 32 + 12, 0x7fff_ffff, /counter of entry 0/],
];

test('vhost-user Inflight I/O tracking: a region that can not be breaks its queue, in words that say what is wrong with it', () => {
  for (const [packed, what, at, value, text] of WRONG) {
    // From a place that is not 0 in a split ring, so that it can be behind.
    const mortal = used({ size: 8, packed, ...(!packed && { base: 4096 }) });
    new DataView(mortal.region).setInt32(at, value, true);
    assert.throws(() => mortal.queue, refusal(text), `${packed ? 'packed' : 'split'}: ${what}`);
  }
  for (const packed of [false, true]) {
    const { place, driver } = used({ size: 8, packed });
    const small = { ...driver.device, inflight: { ...place, entries: 4 } };
    const make = () => (packed ? new PackedDeviceQueue(small) : new SplitDeviceQueue(small));
    assert.throws(make, refusal(/4 entries for a queue of 8/));
  }
});

test('vhost-user Inflight I/O tracking: a packed chain whose copy is no chain breaks its queue when its turn comes', () => {
  const wrong: readonly [at: number, value: number, text: RegExp][] = [
    // Flags without F_NEXT in the first descriptor, and with it in the last.
    [32 + 16, 0, /a chain of 2 descriptors ends after 1/],
    [64 + 16, 3 << 16, /goes on after 2 descriptors/],
    [64 + 16, (2 << 16) | 8, /buffer id 8/],
    [32 + 24, 0x10, /is not guest memory/],
  ];
  for (const [place, value, text] of wrong) {
    const mortal = used({ size: 8, packed: true });
    new DataView(mortal.region).setInt32(place, value, true);
    const { queue } = mortal;
    assert.throws(() => queue.pop(), text);
    assert.throws(() => queue.pop(), text);
  }
  // Two with one buffer id.
  const mortal = used({ size: 8, packed: true });
  const view = new DataView(mortal.region);
  const id = (entry: number): number => 32 + 32 * entry + 16;
  view.setUint16(id(5), view.getUint16(id(1), true), true);
  assert.ok(mortal.queue.pop() !== undefined);
  assert.throws(() => mortal.queue.pop(), refusal(/is in it twice/));
});

test('vhost-user Inflight I/O tracking: whatever a region says, its queue works, or is broken with a word about it', () => {
  const words = fc.array(fc.tuple(fc.nat(80), fc.oneof(fc.nat(20), fc.integer())), { maxLength: 6 });
  for (const packed of [false, true]) {
    fc.assert(
      fc.property(words, fc.boolean(), (changes, inOrder) => {
        const mortal = used({ size: 8, packed, inOrder });
        const region = new Int32Array(mortal.region);
        for (const [word, value] of changes) region[word % region.length] = value;
        try {
          const { queue } = mortal;
          const seen = [];
          for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) seen.push(chain);
          assert.ok(seen.length <= 8);
          for (const chain of seen) queue.push(chain);
          queue.publish();
        } catch (error) {
          assert.ok(error instanceof VirtqueueError, `${error}`);
        }
      }),
      { numRuns: 2000 },
    );
  }
});

test('vhost-user Inflight I/O tracking: where a ring stops is where it goes on without the region, once all is taken anew', () => {
  for (const packed of [false, true]) {
    const mortal = used({ size: 8, packed, indirect: true });
    const { queue } = mortal;
    assert.ok(queue.resumed === true);
    const before = queue.base & 0xffff;
    mortal.pop();
    assert.equal(queue.base & 0xffff, before);
    mortal.pop();
    assert.equal(queue.base & 0xffff, before);
    assert.equal(mortal.pop(), undefined);
    mortal.finish();
    assert.equal(queue.base & 0xffff, before);
    assert.equal(mortal.outstanding.length, 0);
  }
});

test('vhost-user Inflight I/O tracking: a region that is not used any more, with nothing in flight, is taken for any split ring', () => {
  const old = used({ size: 8, base: 9000 });
  old.finish();
  const mortal = new MortalDevice({ size: 8, bytes: 1 << 13 });
  new Uint8Array(mortal.region).set(new Uint8Array(old.region));
  mortal.send();
  mortal.publish();
  assert.equal(mortal.pop(), 0);
  mortal.kill();
  assert.equal(mortal.pop(), 0);
  mortal.finish();
});

test('2.8.21.1: a buffer id that a driver uses anew before it was shown used takes nothing from the record', () => {
  const { view, place } = ringOfFour();
  const inflight = { view: view.slice(1024, 1024), entries: 4 };
  const options = { ...place, base: 0x8000_8000, eventIdx: false, indirect: false, inflight };
  const ring = new PackedRingWriter(place);
  const killed = new PackedDeviceQueue(options);
  ring.offer(0, true, [
    { address: 2048, length: 1, id: 1 },
    { address: 2048, length: 2, id: 1 },
  ]);
  killed.push(killed.pop()!);
  ring.offer(2, true, [{ address: 2048, length: 7, id: 1 }]);
  assert.equal(killed.pop()!.readable, 7);
  killed.publish();

  const next = new PackedDeviceQueue(options);
  const left = next.pop()!;
  assert.equal(left.readable, 7);
  assert.equal(next.pop(), undefined);
  next.push(left);
  next.publish();
  // All entries are free again, as many as the ring has descriptors.
  ring.offer(
    3,
    true,
    [1, 2, 3, 4].map((length) => ({ address: 2048, length, id: 0 })),
  );
  assert.equal(next.pop()!.readable, 10);
});

/** A device over a split ring of 4 whose region is ours, with how often it stored into that. */
function inOrder() {
  const driver = new PoliteDriver({ size: 4 });
  const region = new ArrayBuffer(splitRegionSize(4));
  let stores = 0;
  const view = new WatchedView(new MappedView(region), {
    after: (kind) => {
      if (kind !== 'read' && kind !== 'load') stores += 1;
    },
  });
  const start = (): SplitDeviceQueue =>
    new SplitDeviceQueue({ ...driver.device, inflight: { view, entries: 4, ours: true } });
  return { driver, start, stores: () => stores };
}

test('a region that is ours takes no store while all is handed back in order, and chains keep their numbers however often indices go round', () => {
  const { driver, start, stores } = inOrder();
  let queue = start();
  let before = stores();
  const seen = new Set<number>();
  for (let n = 0; n < 150_000; n++) {
    for (const id of [1, 2]) assert.ok(driver.sent([Uint8Array.of(id)], [1]) !== undefined);
    driver.publish();
    const two = [queue.pop()!, queue.pop()!] as const;
    const serials = two.map(({ head }) => queue.serialOf(head));
    if (n % 997 === 0) {
      assert.ok(two.every(({ head }, i) => queue.isOut(head, serials[i]!)));
      assert.ok(stores() - before <= 1, 'but twice while an index goes round');
      // The next one takes the first of them anew, and the other is still to come.
      queue = start();
      assert.equal(queue.resumed, true);
      before = stores();
      assert.ok(two.every(({ head }, i) => queue.isOut(head, serials[i]!)));
      const first = queue.pop()!;
      assert.deepEqual([first.head, queue.serialOf(first.head)], [two[0].head, serials[0]]);
      queue.push(first);
      const other = queue.pop()!;
      assert.deepEqual([other.head, queue.serialOf(other.head)], [two[1].head, serials[1]]);
      queue.push(other);
      queue.publish();
      assert.ok(two.every(({ head }, i) => !queue.isOut(head, serials[i]!)));
      assert.ok(serials.every((serial) => !seen.has(serial!)));
      for (const serial of serials) seen.add(serial!);
    } else {
      for (const chain of two) queue.push(chain);
      queue.publish();
    }
    while (driver.receive() !== undefined);
  }
});

test('a region of ours that a device filled which knew of no order is gone on with; one that is not ours has none', () => {
  for (const packed of [false, true]) {
    const driver = new PoliteDriver({ size: 4, packed, ...(!packed && { base: 7 }) });
    const region = new ArrayBuffer(packed ? packedRegionSize(4) : splitRegionSize(4));
    const start = (ours = true): Virtqueue => {
      const inflight = { view: new MappedView(region), entries: 4, ours };
      const options = { ...driver.device, inflight };
      return packed ? new PackedDeviceQueue(options) : new SplitDeviceQueue(options);
    };
    const old = start(false);
    for (let i = 0; i < 2; i++) driver.sent([Uint8Array.of(i)], [1]);
    driver.publish();
    const serials = [old.pop()!, old.pop()!].map(({ head }) => [head, old.serialOf!(head)]);
    const next = start();
    const again = [next.pop()!, next.pop()!];
    assert.deepEqual(
      again.map(({ head }) => [head, next.serialOf!(head)]),
      serials,
    );
    for (const chain of again) next.push(chain);
    next.publish();
    const words = new Int32Array(region);
    assert.equal(words[0], 1, 'it is in order now');
    assert.throws(() => start(false), refusal(/features that are not known/));
    words[0] = 2;
    assert.throws(() => start(), refusal(/features that are not known/));
    words[0] = 1;
    if (!packed) continue;
    words[6] = 4;
    assert.throws(() => start(), refusal(/used places are 4 and 0/));
    words[6] = 0;
    words[7] = 1;
    words[9] = 0;
    assert.throws(() => start(), refusal(/1 are handed back, of 0 and 0 descriptors/));
  }
});

test('a driver that makes a chain available again before it is used, and writes over its ring, gets what it asked for: nothing of ours breaks', () => {
  const { view, place } = ringOfFour();
  const inflight = { view: view.slice(1024, 1024), entries: 4, ours: true };
  const options = { ...place, base: 0, eventIdx: false, indirect: false, inflight };
  const ring = new RingWriter(place);
  for (let i = 0; i < 4; i++) ring.descriptor(i, { address: 2048, length: 1 });
  const queue = new SplitDeviceQueue(options);
  for (const head of [0, 1, 2]) ring.offer(head);
  const [a, b, c] = [queue.pop()!, queue.pop()!, queue.pop()!];
  queue.push(a);
  ring.offer(0);
  const again = queue.pop()!;
  for (let i = 0; i < 4; i++) ring.availEntry(i, 3);
  // Now the order is left, and the ring does not say any more which these are.
  queue.push(c);
  queue.publish();
  const next = new SplitDeviceQueue(options);
  assert.deepEqual([next.pop()?.head, next.pop()?.head, next.pop()?.head], [b.head, again.head, undefined]);
});
