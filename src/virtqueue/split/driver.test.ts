import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GuestAddress } from '../../memory/address.js';
import { GuestAllocator, type GuestBuffer } from '../../memory/guest-allocator.js';
import { GuestMemory } from '../../memory/guest-memory.js';
import { MappedView } from '../../memory/mapped-view.js';
import type { DriverQueueOptions } from '../driver-queue.js';
import { PoliteDriver } from '../testing/polite-driver.js';
import { RingWriter } from '../testing/ring-writer.js';
import { WatchedView } from '../testing/watched-view.js';
import { VirtqueueError } from '../virtqueue-error.js';
import { SplitDeviceQueue } from './device.js';
import { SplitDriverQueue } from './driver.js';

const START = 0x1_0000_0000 as GuestAddress;
const BYTES = 1 << 18;

function make<Token = string>(options: Partial<DriverQueueOptions> = {}) {
  const memory = new GuestMemory();
  memory.add({ start: START, view: new MappedView(new ArrayBuffer(BYTES)) });
  const allocator = new GuestAllocator(START, BYTES);
  const all = { memory, allocator, size: 8, eventIdx: false, indirect: false, ...options };
  const queue = new SplitDriverQueue<Token>(all);
  const { size, descriptorArea, driverArea, deviceArea } = queue;
  const place = { ...all, size, descriptorArea, driverArea, deviceArea, base: all.base ?? 0 };
  const buffers = (...lengths: number[]): GuestBuffer[] => lengths.map((length) => allocator.alloc(length));
  return { allocator, memory, queue, place, ring: new RingWriter(place), buffers };
}

const device = (made: { place: ConstructorParameters<typeof SplitDeviceQueue>[0] }) =>
  new SplitDeviceQueue(made.place);

function refuses(call: () => unknown, code: string): void {
  assert.throws(
    call,
    (error) => error instanceof VirtqueueError && error.code === code && error.section === '2.7.8',
  );
}

test('2.7.10.1: a new ring is all zeros, or starts where it is told to', () => {
  for (const base of [0, 0xfffe]) {
    const { ring, place } = make({ base });
    assert.deepEqual(
      [ring.availIndex, ring.usedIndex, ring.usedEvent, ring.availEvent],
      [base, base, base, base],
    );
    assert.deepEqual([ring.availFlags, ring.usedFlags], [0, 0]);
    assert.equal(new SplitDeviceQueue(place).pop(), undefined);
  }
});

test('2.7.13: an added chain is seen after publish, with its buffers in order', () => {
  for (const indirect of [false, true]) {
    const made = make({ indirect, base: 0xffff });
    const { queue, buffers, memory } = made;
    const end = device(made);
    const [first, second, room] = [...buffers(2, 3), ...buffers(4)] as [
      GuestBuffer,
      GuestBuffer,
      GuestBuffer,
    ];
    memory.write(first.address, Uint8Array.of(1, 2));
    memory.write(second.address, Uint8Array.of(3, 4, 5));
    assert.equal(queue.add([first, second], [room], 'a'), true);
    assert.equal(end.pop(), undefined);
    assert.equal(queue.publish(), true);
    const chain = end.pop()!;
    assert.deepEqual([...chain.readRest()], [1, 2, 3, 4, 5]);
    assert.equal(chain.write(Uint8Array.of(9, 8, 7)), 3);
    end.push(chain);
    assert.equal(queue.reap(), undefined);
    end.publish();
    assert.deepEqual(queue.reap(), { token: 'a', written: 3 });
    const into = new Uint8Array(4);
    memory.read(room.address, into);
    assert.deepEqual([...into], [9, 8, 7, 0]);
    assert.deepEqual([queue.reap(), queue.inFlight, queue.free], [undefined, 0, 8]);
  }
});

test('2.7.13: a chain is refused while too few descriptors are free, and taken when they are', () => {
  const made = make();
  const { queue, buffers } = made;
  const end = device(made);
  assert.equal(queue.add(buffers(1, 1, 1), buffers(1, 1), 'five'), true);
  assert.equal(queue.add(buffers(1, 1), buffers(1, 1), 'four'), false);
  assert.equal(queue.add(buffers(1, 1, 1), [], 'three'), true);
  assert.deepEqual([queue.free, queue.inFlight, queue.add(buffers(1), [], 'one')], [0, 2, false]);
  queue.publish();
  end.push(end.pop()!);
  end.publish();
  assert.deepEqual(queue.reap(), { token: 'five', written: 0 });
  assert.deepEqual([queue.free, queue.inFlight], [5, 1]);
  assert.equal(queue.add(buffers(1, 1), buffers(1, 1), 'four'), true);
  assert.deepEqual([queue.free, queue.inFlight], [1, 2]);
});

test('2.7.5.3: with INDIRECT_DESC a chain takes one descriptor, unless it has but one buffer or too many', () => {
  const made = make({ indirect: true, size: 32 });
  const { queue, buffers } = made;
  const end = device(made);
  for (const [count, taken] of [
    [1, 1],
    [2, 1],
    [16, 1],
    [17, 17],
  ] as const) {
    const before = queue.free;
    assert.equal(queue.add(buffers(...new Array(count).fill(3)), [], String(count)), true);
    assert.equal(before - queue.free, taken, `${count} buffers`);
    queue.publish();
    const chain = end.pop()!;
    assert.equal(chain.readable, 3 * count);
    end.push(chain);
    end.publish();
    assert.deepEqual(queue.reap(), { token: String(count), written: 0 });
    assert.equal(queue.free, 32);
  }
});

test('2.7.5.3.1: a chain that can not be is the mistake of the caller, and changes nothing', () => {
  const { queue, buffers } = make({ indirect: true });
  const huge = { address: START, length: 0x8000_0000 };
  const bad: [GuestBuffer[], GuestBuffer[]][] = [
    [[], []],
    [new Array(9).fill(buffers(1)[0]), []],
    [[huge], [huge]],
    [[{ address: START, length: 0 }], []],
    [[{ address: START, length: -1 }], []],
    [[{ address: START, length: 1.5 }], []],
    [[], [{ address: Number.NaN as GuestAddress, length: 1 }]],
    [[], [{ address: -1 as GuestAddress, length: 1 }]],
  ];
  for (const [readable, writable] of bad) assert.throws(() => queue.add(readable, writable, 'x'), RangeError);
  assert.deepEqual([queue.free, queue.inFlight, queue.publish()], [8, 0, false]);
  for (const size of [0, 3, 65536]) assert.throws(() => make({ size }), RangeError);
  for (const base of [-1, 65536, 0.5]) assert.throws(() => make({ base }), RangeError);
});

test('a queue that finds no room gives back what it took', () => {
  const memory = new GuestMemory();
  memory.add({ start: START, view: new MappedView(new ArrayBuffer(BYTES)) });
  const allocator = new GuestAllocator(START, 4096);
  const options = { memory, allocator, size: 64, eventIdx: false, indirect: true };
  assert.throws(() => new SplitDriverQueue(options), RangeError);
  assert.equal(allocator.available, 4096);
});

test('2.7.8: a used index beyond what is in flight breaks the queue', () => {
  for (const ahead of [2, 9, 0x8000, 0xffff]) {
    const { queue, ring, buffers } = make({ base: 0xfffd });
    queue.add(buffers(1), [], 'published');
    queue.publish();
    queue.add(buffers(1), [], 'not published');
    ring.usedIndex = 0xfffd + ahead;
    refuses(() => queue.reap(), 'USED_INDEX');
    refuses(() => queue.reap(), 'USED_INDEX');
    refuses(() => queue.add(buffers(1), [], 'more'), 'USED_INDEX');
    assert.deepEqual([queue.publish(), queue.enableInterrupts()], [false, true]);
    assert.deepEqual(queue.detach(), ['published', 'not published']);
    assert.equal(queue.reap(), undefined);
  }
});

test('2.7.8: a used id that is no chain of ours breaks the queue', () => {
  const { queue, ring, buffers } = make();
  queue.add(buffers(1, 1), [], 'zero');
  queue.add(buffers(1), [], 'two');
  queue.publish();
  ring.answer(2, 0);
  assert.equal(queue.reap()?.token, 'two');
  for (const id of [1, 2, 3, 8, 0x1_0000, 0xffff_ffff]) {
    const other = make();
    other.queue.add(other.buffers(1, 1), [], 'zero');
    other.queue.add(other.buffers(1), [], 'two');
    other.queue.publish();
    other.ring.answer(2, 0);
    other.queue.reap();
    other.ring.answer(id, 0);
    refuses(() => other.queue.reap(), 'USED_ID');
    assert.deepEqual(other.queue.detach(), ['zero'], 'and it comes back only once');
  }
});

test('2.7.8: a chain that was added but never published can not have been used', () => {
  const { queue, ring, buffers } = make();
  queue.add(buffers(1), [], 'published');
  queue.publish();
  queue.add(buffers(1), [], 'not published');
  ring.answer(1, 0);
  refuses(() => queue.reap(), 'USED_ID');
});

test('2.7.8: a used length of more than the writable bytes breaks the queue', () => {
  for (const indirect of [false, true]) {
    const { queue, ring, buffers } = make({ indirect });
    queue.add(buffers(100), buffers(3, 4), 'fits');
    queue.add(buffers(100), buffers(3, 4), 'does not');
    queue.publish();
    ring.answer(0, 7);
    assert.deepEqual(queue.reap(), { token: 'fits', written: 7 });
    ring.answer(indirect ? 1 : 3, 8);
    refuses(() => queue.reap(), 'USED_LEN');
  }
});

test('2.7.9: with IN_ORDER one element stands for all chains that are older, which were written completely', () => {
  const { queue, ring, buffers } = make({ inOrder: true });
  for (const token of ['a', 'b', 'c']) queue.add(buffers(1), buffers(7), token);
  queue.publish();
  // In the place of the first; the index counts all three.
  ring.usedEntry(0, 4, 3);
  ring.usedIndex = 3;
  const heard = [queue.reap(), queue.reap()];
  assert.equal(queue.enableInterrupts(), true, 'in the middle of a batch');
  heard.push(queue.reap(), queue.reap());
  assert.deepEqual(heard, [
    { token: 'a', written: 7 },
    { token: 'b', written: 7 },
    { token: 'c', written: 3 },
    undefined,
  ]);
  assert.deepEqual([queue.inFlight, queue.free], [0, 8]);
});

test('2.7.9: with IN_ORDER an element that stands for more chains than the index counts breaks the queue', () => {
  const { queue, ring, buffers } = make({ inOrder: true });
  for (const token of ['a', 'b', 'c']) queue.add(buffers(1), [], token);
  queue.publish();
  ring.usedEntry(0, 2, 0);
  ring.usedIndex = 2;
  refuses(() => queue.reap(), 'USED_INDEX');
  assert.deepEqual(queue.detach(), ['a', 'b', 'c']);
});

test('2.7.8: a chain that stays with the device while 200000 others come and go is still known', () => {
  const made = make();
  const { queue, buffers } = made;
  const end = device(made);
  const one = buffers(1);
  queue.add(one, [], 'long');
  queue.publish();
  const long = end.pop()!;
  for (let n = 0; n < 200_000; n++) {
    queue.add(one, [], 'short');
    queue.publish();
    end.push(end.pop()!);
    end.publish();
    if (queue.reap()?.token !== 'short') assert.fail(`chain ${n} was lost`);
  }
  end.push(long);
  end.publish();
  assert.equal(queue.reap()?.token, 'long');
});

test('a device that overwrites the whole ring can not change what the driver believes', () => {
  const made = make();
  const { queue, buffers, place, memory, ring } = made;
  for (const token of ['a', 'b']) queue.add(buffers(1, 1), buffers(4), token);
  queue.publish();
  for (const area of [place.descriptorArea, place.driverArea])
    memory.write(area, new Uint8Array(22).fill(0xff));
  ring.answer(3, 4);
  ring.answer(0, 0);
  assert.deepEqual([queue.reap()?.token, queue.reap()?.token, queue.free], ['b', 'a', 8]);
});

test('2.7.8: each field of a used element is read once, and what was checked is what is used', () => {
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
  ring.answer(0, 5);
  reaping = true;
  assert.deepEqual(queue.reap(), { token: 'a', written: 5 });
  assert.equal(reads, 2 + 8);
});

test('2.7.10.1: whether to kick is the flag, or with EVENT_IDX avail_event, of the device', () => {
  const plain = make();
  const kicks = [0, 1, 0xfffe, 0xffff].map((flags) => {
    plain.ring.usedFlags = flags;
    plain.queue.add(plain.buffers(1), [], 'x');
    return plain.queue.publish();
  });
  assert.deepEqual([kicks, plain.queue.publish()], [[true, false, true, false], false]);

  for (let event = 0; event < 8; event++) {
    const { queue, ring, buffers } = make({ eventIdx: true, base: 0xfffd });
    ring.usedFlags = 1;
    ring.availEvent = (0xfffd + event) & 0xffff;
    queue.add(buffers(1), [], 'x');
    assert.equal(queue.publish(), event === 0);
    for (let n = 0; n < 5; n++) queue.add(buffers(1), [], 'x');
    assert.equal(queue.publish(), event >= 1 && event <= 5, `event ${event}`);
  }
});

test('2.7.7.1: interrupts are asked for and declined by the flag, or with EVENT_IDX by used_event', () => {
  for (const [eventIdx, wishes] of [
    [
      false,
      [
        [1, 0xffff],
        [0, 0xffff],
      ],
    ],
    [
      true,
      [
        [0, 0xffff],
        [0, 0],
      ],
    ],
  ] as const) {
    const made = make({ eventIdx, base: 0xffff });
    const { queue, buffers, ring } = made;
    const end = device(made);
    queue.add(buffers(1), [], 'x');
    queue.publish();
    end.push(end.pop()!);
    end.publish();
    queue.reap();
    const seen: number[][] = [];
    queue.disableInterrupts();
    seen.push([ring.availFlags, ring.usedEvent]);
    queue.enableInterrupts();
    seen.push([ring.availFlags, ring.usedEvent]);
    assert.deepEqual(seen, wishes);
  }
});

for (const eventIdx of [false, true]) {
  const name = eventIdx ? 'with EVENT_IDX' : 'without EVENT_IDX';
  test(`2.7.7: a device interrupts after enableInterrupts and not after disableInterrupts, ${name}`, () => {
    const made = make({ eventIdx, base: 0xfffe });
    const { queue, buffers } = made;
    const end = device(made);
    const serve = () => {
      queue.add(buffers(1), [], 'x');
      queue.publish();
      end.push(end.pop()!);
      return end.publish();
    };
    serve();
    queue.reap();
    queue.disableInterrupts();
    assert.equal(serve(), false);
    assert.equal(queue.enableInterrupts(), true, 'one is there already');
    queue.reap();
    assert.equal(queue.enableInterrupts(), false);
    assert.equal(serve(), true);
    queue.reap();
    queue.disableInterrupts();
    assert.equal(serve(), false);
  });
}

test('detach gives back every token in flight, in order, and the memory of the ring', () => {
  const driver = new PoliteDriver({ size: 4, indirect: true });
  const { allocator } = driver;
  const made = make<number>({ allocator, memory: driver.memory, indirect: true });
  const { queue } = made;
  const end = device(made);
  const one = allocator.alloc(1);
  for (const n of [0, 1, 2, 3]) queue.add([one], [], n);
  queue.publish();
  const held = [end.pop()!, end.pop()!];
  end.push(held[0]!);
  end.publish();
  queue.reap();
  queue.add([one], [], 4);
  assert.deepEqual(queue.detach(), [1, 2, 3, 4]);
  allocator.free(one);
  driver.queue.detach();
  assert.equal(allocator.available, 1 << 20);
  assert.deepEqual(
    [queue.detach(), queue.reap(), queue.inFlight, queue.publish()],
    [[], undefined, 0, false],
  );
  assert.equal(queue.enableInterrupts(), false);
  queue.disableInterrupts();
  assert.throws(() => queue.add([one], [], 5), TypeError);
});

test('2.9: the place for a notification is the available index, and wraps as it does', () => {
  const { queue, buffers } = make({ base: 0x7ffe });
  assert.equal(queue.nextPlace, 0x7ffe);
  const places = [0, 1, 2, 3].map(() => {
    queue.add(buffers(1), buffers(1), 'x');
    queue.publish();
    return queue.nextPlace;
  });
  assert.deepEqual(places, [0x7fff, 0x8000, 0x8001, 0x8002]);
});
