import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GuestAddress } from '../../memory/address.js';
import { GuestMemory } from '../../memory/guest-memory.js';
import { MappedView } from '../../memory/mapped-view.js';
import { PoliteDriver } from '../testing/polite-driver.js';
import { type RawDescriptor, RingWriter } from '../testing/ring-writer.js';
import { WatchedView } from '../testing/watched-view.js';
import { VirtqueueError } from '../virtqueue-error.js';
import { SplitDeviceQueue } from './device.js';

const SIZE = 8;
const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;

/** A ring that a test fills by hand; `page` is guest memory to name in descriptors. */
function handMade({ indirect = true, base = 0, size = SIZE } = {}) {
  const driver = new PoliteDriver({ base, size });
  const page: number = driver.allocator.alloc(65536, 4096).address;
  const ring = new RingWriter(driver.device);
  const device = new SplitDeviceQueue({ ...driver.device, indirect });
  return { driver, memory: driver.memory, page, ring, device };
}

type HandMade = ReturnType<typeof handMade>;

/** Offers what `fill` made, and checks that pop refuses it now and, cheaply, ever after. */
function refuses(
  code: string,
  section: string,
  fill: (made: HandMade) => void,
  made: HandMade = handMade(),
): void {
  fill(made);
  let first: unknown;
  assert.throws(
    () => made.device.pop(),
    (error) => {
      first = error;
      return error instanceof VirtqueueError && error.code === code && error.section === section;
    },
    `${code} §${section}`,
  );
  assert.throws(
    () => made.device.pop(),
    (error) => error === first,
    'the same error again',
  );
  assert.deepEqual(
    [made.device.publish(), made.device.enableKicks(), made.device.inFlight],
    [false, true, 0],
  );
}

/** A chain of `descriptors` (their `next` set, F_NEXT too) at `head`, offered. */
function offer({ ring }: HandMade, head: number, descriptors: readonly RawDescriptor[]): void {
  descriptors.forEach((descriptor, i) => {
    const more = i + 1 < descriptors.length ? NEXT : 0;
    ring.descriptor(head + i, { next: head + i + 1, ...descriptor, flags: (descriptor.flags ?? 0) | more });
  });
  ring.offer(head);
}

test('2.7.6: an empty ring has nothing to pop, again and again', () => {
  const { device } = handMade();
  assert.deepEqual([device.pop(), device.pop(), device.base], [undefined, undefined, 0]);
});

test('2.7.6: an available index that is more than the queue size ahead is refused', () => {
  for (const index of [SIZE + 1, 0x7fff, 0xffff]) {
    refuses('AVAIL_INDEX', '2.7.6', ({ ring }) => {
      ring.availIndex = index;
    });
  }
});

test('2.7.6.1: an available index that goes back is refused', () => {
  const made = handMade();
  offer(made, 0, [{ address: made.page, length: 1 }]);
  offer(made, 1, [{ address: made.page, length: 1 }]);
  for (let chain = made.device.pop(); chain !== undefined; chain = made.device.pop()) made.device.push(chain);
  made.device.publish();
  made.ring.availIndex = 1;
  refuses('AVAIL_INDEX', '2.7.6', () => {}, made);
});

test('2.7.13: buffers beyond what the driver got back are refused: they had no descriptors', () => {
  const made = handMade();
  for (let head = 0; head < SIZE; head++) offer(made, head, [{ address: made.page, length: 1 }]);
  for (let n = 0; n < SIZE; n++) made.device.push(made.device.pop()!);
  // Pushed, but not published: the driver can't know.
  offer(made, 0, [{ address: made.page, length: 1 }]);
  assert.throws(() => made.device.pop(), { code: 'AVAIL_INDEX' });
});

test('2.7.6: a head index beyond the table is refused', () => {
  for (const head of [SIZE, 0xffff]) refuses('HEAD_INDEX', '2.7.6', ({ ring }) => ring.offer(head));
});

test('2.7.13.1: a head that is in flight is refused', () => {
  const made = handMade();
  offer(made, 3, [{ address: made.page, length: 1 }]);
  const chain = made.device.pop()!;
  made.ring.offer(3);
  assert.throws(() => made.device.pop(), { code: 'HEAD_IN_FLIGHT', section: '2.7.13.1' });
  made.device.push(chain);
  assert.deepEqual([made.device.publish(), made.ring.usedIndex], [false, 0], 'a broken queue writes nothing');
});

test('2.7.5.2: a chain that loops is refused', () => {
  for (const next of [0, 1, 2]) {
    refuses('CHAIN_LOOP', '2.7.5.2', (made) => {
      const one = { address: made.page, length: 1 };
      offer(made, 0, [one, one, { ...one, flags: NEXT, next }]);
    });
  }
});

test('2.7.5.2: a loop costs no more than the table it is in', () => {
  for (const indirect of [false, true]) {
    let reads = 0;
    const before = (kind: string) => {
      if (kind === 'read') reads += 1;
    };
    const driver = new PoliteDriver({ indirect, hooks: { before } });
    const page = driver.allocator.alloc(4096).address;
    const ring = new RingWriter(driver.device);
    const loop = Array.from({ length: SIZE }, () => ({ address: page, length: 1, flags: NEXT, next: 1 }));
    loop.forEach((descriptor, i) => void ring.descriptor(i, descriptor));
    ring.tableAt(page, loop.slice(0, 5));
    if (indirect) ring.descriptor(0, { address: page, length: 16 * 5, flags: INDIRECT });
    ring.offer(0);
    const device = new SplitDeviceQueue(driver.device);
    reads = 0;
    assert.throws(() => device.pop(), { code: 'CHAIN_LOOP' });
    assert.equal(reads, 1 + 4 * (indirect ? 1 + 5 : SIZE));
  }
});

test('2.7.5.2: a chain may have as many descriptors as the queue', () => {
  const made = handMade();
  offer(made, 0, new Array(SIZE).fill({ address: made.page, length: 2 }));
  assert.equal(made.device.pop()?.readable, 2 * SIZE);
});

test('2.7.5: a descriptor that continues outside its table is refused', () => {
  for (const next of [SIZE, 0xffff]) {
    refuses('NEXT_INDEX', '2.7.5', (made) =>
      offer(made, 0, [{ address: made.page, length: 1, flags: NEXT, next }]),
    );
  }
  refuses('NEXT_INDEX', '2.7.5', (made) => {
    made.ring.tableAt(made.page as GuestAddress, [{ address: made.page, length: 1, flags: NEXT, next: 1 }]);
    offer(made, 0, [{ address: made.page, length: 16, flags: INDIRECT }]);
  });
});

test('2.7.4.2: a readable descriptor after a writable one is refused, even one without bytes', () => {
  for (const [first, second] of [
    [4, 4],
    [0, 4],
    [4, 0],
  ] as const) {
    refuses('READABLE_AFTER_WRITABLE', '2.7.4.2', (made) => {
      const { page } = made;
      offer(made, 0, [
        { address: page, length: first, flags: WRITE },
        { address: page, length: second },
      ]);
    });
  }
});

test('2.7.5: a descriptor outside guest memory is refused when it is popped', () => {
  const end = 0x1_2345_0000 + (1 << 20);
  for (const [address, length] of [
    [0, 1],
    [end - 3, 4],
    [end, 1],
    [2 ** 53, 1],
    [0xffff_ffff_ffff_ffffn, 1],
    [0xffff_ffff_0000_0000n, 0xffff_ffff],
    // The low half alone, and the high half alone, would be guest memory.
    [0x2345_0000, 1],
    [0x1_0000_0000, 1],
  ] as const) {
    refuses('BUFFER_UNMAPPED', '2.7.5', (made) => offer(made, 0, [{ address, length }]));
    refuses('BUFFER_UNMAPPED', '2.7.5', (made) => {
      offer(made, 0, [
        { address: made.page, length: 1 },
        { address, length, flags: WRITE },
      ]);
    });
  }
});

test('2.7.5: a descriptor without bytes does no harm, whatever its address', () => {
  const made = handMade();
  offer(made, 0, [
    { address: 2 ** 60, length: 0 },
    { address: made.page, length: 3 },
    { address: 0, length: 0, flags: WRITE },
    { address: made.page, length: 5, flags: WRITE },
  ]);
  const chain = made.device.pop()!;
  assert.deepEqual([chain.readable, chain.writable], [3, 5]);
  assert.deepEqual([chain.write(new Uint8Array(9)), chain.readRest().length], [5, 3]);
});

test('2.7.5.2: a chain of 2^32 bytes or more is refused, though each part is guest memory', () => {
  const large = 0x2000_0000;
  const fill = (made: HandMade, last: number) => {
    // Plain zeros that exist nowhere: only the lengths matter here.
    const view = { length: large } as MappedView;
    made.memory.add({ start: 0x10_0000_0000 as GuestAddress, view });
    const whole = { address: 0x10_0000_0000, length: large };
    offer(made, 0, [
      ...new Array(6).fill(whole),
      { ...whole, flags: WRITE },
      { ...whole, length: last, flags: WRITE },
    ]);
  };
  refuses('CHAIN_BYTES', '2.7.5.2', (made) => fill(made, large));
  const made = handMade();
  fill(made, large - 1);
  assert.equal(made.device.pop()?.writable, 2 * large - 1);
});

test('2.7.5.3: an indirect table is followed, alone or after direct descriptors, F_WRITE on it ignored', () => {
  for (const flags of [INDIRECT, INDIRECT | WRITE]) {
    const made = handMade();
    const { page, ring } = made;
    ring.tableAt((page + 256) as GuestAddress, [
      { address: page, length: 3, flags: NEXT, next: 2 },
      { address: page, length: 99 },
      { address: page, length: 5, flags: WRITE },
    ]);
    offer(made, 0, [{ address: page + 256, length: 48, flags }]);
    offer(made, 4, [
      { address: page, length: 7 },
      { address: page + 256, length: 48, flags },
    ]);
    const alone = made.device.pop()!;
    const after = made.device.pop()!;
    assert.deepEqual([alone.readable, alone.writable, after.readable, after.writable], [3, 5, 10, 5]);
  }
});

test('2.7.5.3.1: what a driver must not do with an indirect table is refused', () => {
  const table = (made: HandMade, flags: number, length: number) => {
    const { page, ring } = made;
    ring.tableAt((page + 256) as GuestAddress, [{ address: page, length: 16, flags }]);
    offer(made, 0, [{ address: page + 256, length, flags: INDIRECT }]);
  };
  refuses(
    'INDIRECT_NOT_NEGOTIATED',
    '2.7.5.3.1',
    (made) => table(made, 0, 16),
    handMade({ indirect: false }),
  );
  refuses('INDIRECT_NESTED', '2.7.5.3.1', (made) => table(made, INDIRECT, 16));
  refuses('INDIRECT_NEXT', '2.7.5.3.1', (made) => {
    offer(made, 0, [
      { address: made.page, length: 16, flags: INDIRECT },
      { address: made.page, length: 1 },
    ]);
  });
  for (const length of [0, 1, 15, 17, 24, 0xffff_ffff]) {
    refuses('INDIRECT_LENGTH', '2.7.5.3', (made) => table(made, 0, length));
  }
  refuses('INDIRECT_UNMAPPED', '2.7.5.3', (made) => {
    offer(made, 0, [{ address: 0x1_2345_0000 + (1 << 20) - 16, length: 32, flags: INDIRECT }]);
  });
});

test('2.7.5.3.1: an indirect table may be longer than the queue, up to 1024 descriptors, or as long as a larger queue', () => {
  const fill = (made: HandMade, count: number) => {
    const descriptors = Array.from({ length: count }, (_, i) => {
      return { address: made.page, length: 1, flags: i + 1 < count ? NEXT : 0, next: i + 1 };
    });
    const at = made.driver.allocator.alloc(16 * count);
    made.ring.tableAt(at.address, descriptors);
    offer(made, 0, [{ address: at.address, length: at.length, flags: INDIRECT }]);
  };
  for (const [size, most] of [
    [SIZE, 1024],
    [2048, 2048],
  ] as const) {
    const made = handMade({ size });
    fill(made, most);
    assert.equal(made.device.pop()?.readable, most);
    refuses('INDIRECT_LENGTH', '2.7.5.3.1', (other) => fill(other, most + 1), handMade({ size }));
  }
});

test('2.7.4.2: chains in flight that name over a million descriptors in all are refused, so that our memory lasts', () => {
  const size = 2048;
  const made = handMade({ size });
  const table = made.driver.allocator.alloc(16 * size);
  const descriptors = Array.from({ length: size }, (_, i) => {
    return { address: made.page, length: 1, flags: i + 1 < size ? NEXT : 0, next: i + 1 };
  });
  made.ring.tableAt(table.address, descriptors);
  const head = { address: table.address, length: table.length, flags: INDIRECT };
  for (let n = 0; n < 600; n++) {
    offer(made, 0, [head]);
    made.device.push(made.device.pop()!);
    made.device.publish();
  }
  for (let n = 0; n < 512; n++) {
    offer(made, n, [head]);
    assert.equal(made.device.pop()?.head, n);
  }
  offer(made, 512, [head]);
  assert.throws(() => made.device.pop(), { code: 'TOO_MANY_SEGMENTS' });
  assert.equal(made.device.inFlight, 512);
});

test('2.7.5.3: a loop in an indirect table is refused', () => {
  refuses('CHAIN_LOOP', '2.7.5.2', (made) => {
    const { page, ring } = made;
    ring.tableAt((page + 256) as GuestAddress, [
      { address: page, length: 1, flags: NEXT, next: 1 },
      { address: page, length: 1, flags: NEXT, next: 0 },
    ]);
    offer(made, 0, [{ address: page + 256, length: 32, flags: INDIRECT }]);
  });
});

test('2.7.5.3: an indirect table may lie unaligned, and across two regions', () => {
  const made = handMade();
  const { page, ring, memory } = made;
  const end = (0x1_2345_0000 + (1 << 20)) as GuestAddress;
  memory.add({ start: end, view: new MappedView(new ArrayBuffer(64)) });
  [page + 257, end - 20].forEach((address, i) => {
    ring.tableAt(address as GuestAddress, [
      { address: page, length: 3, flags: NEXT, next: 2 },
      {},
      { address: page, length: 5, flags: WRITE },
    ]);
    offer(made, i, [{ address, length: 48, flags: INDIRECT }]);
  });
  for (const chain of [made.device.pop()!, made.device.pop()!]) {
    assert.deepEqual([chain.readable, chain.writable], [3, 5]);
  }
});

test('2.7.5: each field that the driver can change is read once, and what was checked is what is used', () => {
  for (const [tableAt, byWords] of [
    [256, false],
    [257, false],
    [256, true],
    [257, true],
  ] as const) {
    const driver = new PoliteDriver();
    const [plain] = driver.memory.regions;
    const page = driver.allocator.alloc(4096, 4096).address;
    const ring = new RingWriter(driver.device);
    driver.memory.write(
      page,
      Uint8Array.from({ length: 64 }, (_, i) => i),
    );
    ring.descriptor(0, { address: page, length: 3, flags: NEXT, next: 5 });
    ring.descriptor(5, { address: page + tableAt, length: 32, flags: INDIRECT });
    ring.tableAt((page + tableAt) as GuestAddress, [
      { address: page + 10, length: 4, flags: NEXT, next: 1 },
      { address: page + 20, length: 6, flags: WRITE },
    ]);
    ring.offer(0);

    let popping = false;
    const reads = new Uint8Array(1 << 20);
    const after = (kind: string, offset: number, length: number) => {
      if (!popping || kind === 'write' || kind === 'store') return;
      for (let i = offset; i < offset + length; i++) reads[i] = reads[i]! + 1;
      // A hostile driver on another processor, at the worst moment.
      plain!.view.copyIn(offset, new Uint8Array(length).fill(0xff), 0, length);
    };
    const memory = new GuestMemory();
    memory.add({ start: plain!.start, view: new WatchedView(plain!.view, { after, byWords }) });
    const device = new SplitDeviceQueue({ ...driver.device, memory, indirect: true });
    popping = true;
    const chain = device.pop()!;
    popping = false;
    assert.deepEqual([chain.head, chain.readable, chain.writable], [0, 7, 6]);
    assert.deepEqual([...chain.readRest()], [0, 1, 2, 10, 11, 12, 13]);
    assert.equal(Math.max(...new Set(reads)), 1, 'no byte is read twice');
    assert.equal(
      reads.reduce((a, b) => a + b),
      2 + (byWords ? 4 : 2) + 4 * 16,
      'idx, entry (or the word that it is in) and four descriptors',
    );
  }
});
