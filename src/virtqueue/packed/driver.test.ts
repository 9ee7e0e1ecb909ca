import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GuestAddress } from '../../memory/address.js';
import { GuestAllocator, type GuestBuffer } from '../../memory/guest-allocator.js';
import { GuestMemory } from '../../memory/guest-memory.js';
import { MappedView } from '../../memory/mapped-view.js';
import type { DriverQueueOptions } from '../driver-queue.js';
import { PackedRingWriter } from '../testing/packed-ring-writer.js';
import { WatchedView } from '../testing/watched-view.js';
import { VirtqueueError } from '../virtqueue-error.js';
import { PackedDeviceQueue } from './device.js';
import { PackedDriverQueue } from './driver.js';

const START = 0x1_0000_0000 as GuestAddress;
const BYTES = 1 << 18;

function make<Token = string>(options: Partial<DriverQueueOptions> = {}) {
  const memory = new GuestMemory();
  memory.add({ start: START, view: new MappedView(new ArrayBuffer(BYTES)) });
  const allocator = new GuestAllocator(START, BYTES);
  const all = { memory, allocator, size: 8, eventIdx: false, indirect: false, ...options };
  const queue = new PackedDriverQueue<Token>(all);
  const { size, descriptorArea, driverArea, deviceArea, base } = queue;
  const place = { ...all, size, descriptorArea, driverArea, deviceArea, base };
  const buffers = (...lengths: number[]): GuestBuffer[] => lengths.map((length) => allocator.alloc(length));
  return { allocator, memory, queue, place, ring: new PackedRingWriter(place), buffers };
}

const device = (made: { place: ConstructorParameters<typeof PackedDeviceQueue>[0] }) =>
  new PackedDeviceQueue(made.place);

function refuses(call: () => unknown, code: string): void {
  assert.throws(
    call,
    (error) => error instanceof VirtqueueError && error.code === code && error.section === '2.8.22',
  );
}

test('2.8.13: a new ring is all zeros; one that starts elsewhere has nothing available and nothing used', () => {
  const { ring } = make();
  for (let i = 0; i < 8; i++) assert.deepEqual(ring.read(i), { length: 0, id: 0, flags: 0 });
  assert.deepEqual([ring.driver.flags, ring.device.flags], [0, 0]);
  for (const place of [0, 1, 7, 0x8000, 0x8003, 0x8007]) {
    const made = make({ base: (place | (place << 16)) >>> 0 });
    const end = device(made);
    for (let n = 0; n < 20; n++) {
      assert.deepEqual([end.pop(), made.queue.reap()], [undefined, undefined]);
      made.queue.add(made.buffers(1), [], `${n}`);
      made.queue.publish();
      end.push(end.pop()!);
      end.publish();
      assert.equal(made.queue.reap()?.token, `${n}`);
    }
  }
});

test('a size, a base or a chain that can not be is the mistake of the caller, and changes nothing', () => {
  for (const size of [0, 32769, 1.5]) assert.throws(() => make({ size }), RangeError);
  for (const base of [0x8000, 0x8000_8001, 0x0008_0008, -1]) assert.throws(() => make({ base }), RangeError);
  const { queue, buffers } = make();
  const bad = { address: START, length: 0 };
  assert.throws(() => queue.add([], [], 'x'), RangeError);
  assert.throws(() => queue.add(buffers(1, 1, 1, 1, 1), buffers(1, 1, 1, 1), 'x'), RangeError);
  assert.throws(() => queue.add([bad], [], 'x'), RangeError);
  const huge = { address: START, length: 2 ** 31 };
  assert.throws(() => queue.add([huge], [huge], 'x'), RangeError);
  assert.deepEqual([queue.free, queue.inFlight, queue.publish()], [8, 0, false]);
});

test('2.8.6, 2.8.21.1: a list goes round the end of the ring, each descriptor with the flags of its lap and the id', () => {
  const { queue, ring, buffers } = make({ size: 5, base: 0x8003_8003 });
  queue.add(buffers(1, 2), buffers(3, 4), 'x');
  assert.equal(ring.read(3).flags, 0, 'not before it is published');
  queue.publish();
  const flags = [3, 4, 0, 1].map((index) => ring.read(index).flags);
  assert.deepEqual(flags, [0x0081, 0x0081, 0x8003, 0x8002]);
  assert.deepEqual(
    [3, 4, 0, 1].map((index) => [ring.read(index).length, ring.read(index).id]),
    [1, 2, 3, 4].map((length) => [length, 0]),
  );
});

test('2.8.17: the first descriptor of all that is published becomes available last', () => {
  const log: number[] = [];
  const plain = new MappedView(new ArrayBuffer(BYTES));
  const memory = new GuestMemory();
  const before = (kind: string, offset: number, length: number) => {
    const hasFlags = (offset % 16 === 14 && length === 2) || (offset % 16 === 12 && length === 4);
    if (kind !== 'read' && kind !== 'load' && hasFlags) log.push(offset);
  };
  memory.add({ start: START, view: new WatchedView(plain, { before }) });
  const { queue, buffers, place } = make({ memory });
  const ring = place.descriptorArea - START;
  queue.add(buffers(1, 1), [], 'a');
  queue.add(buffers(1), [], 'b');
  queue.publish();
  assert.deepEqual(
    log.filter((at) => at >= ring && at < ring + 128),
    [ring + 28, ring + 44, ring + 14],
  );
});

test('2.8.17: a chain is refused while too few descriptors are free, and taken when they are', () => {
  const made = make({ size: 3 });
  const { queue, buffers } = made;
  const end = device(made);
  assert.ok(queue.add(buffers(1, 1), [], 'a'));
  assert.equal(queue.add(buffers(1, 1), [], 'b'), false);
  assert.ok(queue.add(buffers(1), [], 'c'));
  assert.deepEqual([queue.free, queue.inFlight], [0, 2]);
  queue.publish();
  end.push(end.pop()!);
  end.publish();
  assert.equal(queue.reap()?.token, 'a');
  assert.ok(queue.add(buffers(1, 1), [], 'b'));
});

test('2.8.7: with INDIRECT_DESC a chain takes one descriptor, unless it has but one buffer or too many', () => {
  for (const [count, taken] of [
    [1, 1],
    [2, 1],
    [16, 1],
    [17, 17],
  ] as const) {
    const made = make({ size: 20, indirect: true });
    const { queue, buffers, ring } = made;
    const lengths = Array.from({ length: count - 1 }, () => 3);
    queue.add(buffers(...lengths), buffers(5), 'x');
    queue.publish();
    assert.equal(queue.free, 20 - taken);
    const chain = device(made).pop()!;
    assert.deepEqual([chain.readable, chain.writable], [3 * (count - 1), 5]);
    assert.equal(ring.read(0).flags, taken === 1 && count > 1 ? 0x84 : count > 1 ? 0x81 : 0x82);
  }
});

test('2.8.22: a used id that is no chain of ours, or comes twice, breaks the queue', () => {
  for (const id of [1, 2, 8, 0xffff]) {
    const { queue, ring, buffers } = make();
    queue.add(buffers(1, 1), [], 'zero');
    queue.add(buffers(1), [], 'one');
    queue.publish();
    ring.answer(0, true, 1, 0);
    assert.equal(queue.reap()?.token, 'one');
    ring.answer(1, true, id, 0);
    refuses(() => queue.reap(), 'USED_ID');
    refuses(() => queue.reap(), 'USED_ID');
    refuses(() => queue.add(buffers(1), [], 'more'), 'USED_ID');
    assert.deepEqual([queue.publish(), queue.enableInterrupts()], [false, true]);
    assert.deepEqual(queue.detach(), ['zero'], 'and it comes back only once');
    assert.equal(queue.reap(), undefined);
  }
});

test('2.8.22: a chain that was never published can not have been used, nor one that was not there', () => {
  const { queue, ring, buffers } = make();
  queue.add(buffers(1), [], 'not published');
  ring.answer(0, true, 0, 0);
  refuses(() => queue.reap(), 'USED_ID');
  const empty = make();
  empty.ring.answer(0, true, 0, 0);
  refuses(() => empty.queue.reap(), 'USED_ID');
});

test('2.8.22: a used length of more than the writable bytes breaks the queue; without F_WRITE it means nothing', () => {
  for (const indirect of [false, true]) {
    const { queue, ring, buffers } = make({ indirect });
    for (const token of ['fits', 'ignored', 'does not']) queue.add(buffers(100), buffers(7), token);
    queue.publish();
    const step = indirect ? 1 : 2;
    ring.answer(0, true, 0, 7);
    assert.deepEqual(queue.reap(), { token: 'fits', written: 7 });
    ring.descriptor(step, { length: 0xffff, id: 1, flags: 0x8080 });
    assert.deepEqual(queue.reap(), { token: 'ignored', written: 0 });
    ring.answer(2 * step, true, 2, 8);
    refuses(() => queue.reap(), 'USED_LEN');
  }
});

test('2.8.8: with IN_ORDER one used descriptor stands for all that are older, which were written completely', () => {
  const { queue, ring, buffers } = make({ inOrder: true });
  for (const token of ['a', 'b', 'c']) queue.add(buffers(1), buffers(7), token);
  queue.add(buffers(1), [], 'd');
  queue.publish();
  ring.answer(0, true, 2, 3);
  const heard = [queue.reap(), queue.reap()];
  assert.equal(queue.enableInterrupts(), true, 'in the middle of a batch');
  heard.push(queue.reap(), queue.reap());
  assert.deepEqual(heard, [
    { token: 'a', written: 7 },
    { token: 'b', written: 7 },
    { token: 'c', written: 3 },
    undefined,
  ]);
  assert.deepEqual([queue.inFlight, queue.free], [1, 7]);
  // The next used descriptor is looked for after the batch.
  ring.answer(6, true, 3, 0);
  assert.equal(queue.reap()?.token, 'd');
});

test('2.8.8: with IN_ORDER an older id than the last can not be used once more', () => {
  const { queue, ring, buffers } = make({ inOrder: true });
  for (const token of ['a', 'b', 'c']) queue.add(buffers(1), [], token);
  queue.publish();
  ring.answer(0, true, 1, 0);
  assert.deepEqual([queue.reap()?.token, queue.reap()?.token], ['a', 'b']);
  ring.answer(2, true, 0, 0);
  refuses(() => queue.reap(), 'USED_ID');
  assert.deepEqual(queue.detach(), ['c']);
});

test('a chain that stays with the device while 50000 others come and go is still known', () => {
  const made = make({ size: 7 });
  const { queue, buffers } = made;
  const end = device(made);
  const one = buffers(1);
  queue.add(one, [], 'long');
  queue.publish();
  const long = end.pop()!;
  for (let n = 0; n < 50_000; n++) {
    queue.add(n % 3 === 0 ? [one[0]!, one[0]!] : one, [], 'short');
    queue.publish();
    end.push(end.pop()!);
    end.publish();
    if (queue.reap()?.token !== 'short') assert.fail(`chain ${n} was lost`);
  }
  end.push(long);
  end.publish();
  assert.equal(queue.reap()?.token, 'long');
});

test('2.8.13: each field of a used descriptor is read once, and what was checked is what is used', () => {
  const plain = new MappedView(new ArrayBuffer(BYTES));
  let reaping = false;
  let reads = 0;
  const after = (kind: string, offset: number, length: number) => {
    if (!reaping || kind === 'write' || kind === 'store') return;
    reads += length;
    plain.copyIn(offset, new Uint8Array(length).fill(0xff), 0, length);
  };
  const memory = new GuestMemory();
  memory.add({ start: START, view: new WatchedView(plain, { after }) });
  const { queue, ring, buffers } = make({ memory });
  queue.add(buffers(1), buffers(9), 'a');
  queue.publish();
  ring.answer(0, true, 0, 5);
  reaping = true;
  assert.deepEqual(queue.reap(), { token: 'a', written: 5 });
  // The flags, the length, and the word with the id: what else is in that is not looked at.
  assert.equal(reads, 2 + 4 + 4);
});

test('2.8.21.2: whether to kick is the device event suppression structure', () => {
  const plain = make();
  const kicks = [0, 1, 2, 3, 0xfffd].map((flags) => {
    plain.ring.device.flags = flags;
    plain.queue.add(plain.buffers(1), [], 'x');
    return plain.queue.publish();
  });
  assert.deepEqual([kicks, plain.queue.publish()], [[true, false, true, true, false], false]);

  for (let event = 0; event < 12; event++) {
    const { queue, ring, buffers } = make({ eventIdx: true, size: 6, base: 0x8004_8004 });
    ring.device.flags = 2;
    ring.device.desc = (event % 6) | (event < 6 ? 0x8000 : 0);
    queue.add(buffers(1), [], 'x');
    assert.equal(queue.publish(), event === 4);
    for (let n = 0; n < 3; n++) queue.add(buffers(1), [], 'x');
    assert.equal(queue.publish(), event >= 5 && event <= 7, `event ${event}`);
  }
});

test('detach gives back every token in flight, in order, and the memory of the ring', () => {
  const made = make<number>({ indirect: true, size: 4 });
  const { queue, allocator } = made;
  const free = allocator.available;
  const end = device(made);
  const one = allocator.alloc(1);
  for (const n of [0, 1, 2, 3]) queue.add([one], [], n);
  queue.publish();
  const held = [end.pop()!, end.pop()!];
  end.push(held[1]!);
  end.publish();
  assert.equal(queue.reap()?.token, 1);
  queue.add([one], [], 4);
  assert.deepEqual(queue.detach(), [0, 2, 3, 4]);
  allocator.free(one);
  assert.ok(allocator.available > free);
  assert.equal(allocator.available, BYTES);
  assert.deepEqual(
    [queue.detach(), queue.reap(), queue.inFlight, queue.publish()],
    [[], undefined, 0, false],
  );
  assert.equal(queue.enableInterrupts(), false);
  queue.disableInterrupts();
  assert.throws(() => queue.add([one], [], 5), TypeError);
});

test('a queue that finds no room gives back what it took', () => {
  const memory = new GuestMemory();
  memory.add({ start: START, view: new MappedView(new ArrayBuffer(BYTES)) });
  const allocator = new GuestAllocator(START, 4096);
  const options = { memory, allocator, size: 64, eventIdx: false, indirect: true };
  assert.throws(() => new PackedDriverQueue(options), RangeError);
  assert.equal(allocator.available, 4096);
});

test('2.8.16, 2.9: the place for a notification is that of the next descriptor, with the wrap counter', () => {
  const made = make({ size: 3 });
  const { queue, buffers } = made;
  const end = device(made);
  assert.equal(queue.nextPlace, 0x8000);
  const places = [0, 1, 2, 3, 4].map((n) => {
    queue.add(buffers(1), n === 1 ? buffers(1) : [], 'x');
    queue.publish();
    end.push(end.pop()!);
    end.publish();
    queue.reap();
    return queue.nextPlace;
  });
  assert.deepEqual(places, [0x8001, 0, 1, 2, 0x8000]);
});
