import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GuestAddress } from '../../memory/address.js';
import { GuestMemory } from '../../memory/guest-memory.js';
import { MappedView } from '../../memory/mapped-view.js';
import { PackedRingWriter, type RawPackedDescriptor } from '../testing/packed-ring-writer.js';
import { PoliteDriver } from '../testing/polite-driver.js';
import { WatchedView } from '../testing/watched-view.js';
import { VirtqueueError } from '../virtqueue-error.js';
import { PackedDeviceQueue } from './device.js';

const SIZE = 6;
const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;
const FRESH = 0x8000_8000;

/** A ring that a test fills by hand; `page` is guest memory to name in descriptors. */
function handMade({ indirect = true, base = FRESH, size = SIZE, inOrder = false } = {}) {
  const driver = new PoliteDriver({ base, size, packed: true });
  const page: number = driver.allocator.alloc(65536, 4096).address;
  const ring = new PackedRingWriter(driver.device);
  const device = new PackedDeviceQueue({ ...driver.device, indirect, inOrder });
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
  const { inFlight } = made.device;
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
  const { device } = made;
  assert.deepEqual(
    [device.publish(), device.enableKicks(), device.waiting, device.inFlight],
    [false, true, false, inFlight],
  );
}

/** Refuses one list at the start of a fresh ring. */
function refusesList(
  code: string,
  section: string,
  list: (page: number) => readonly RawPackedDescriptor[],
  made?: HandMade,
): void {
  refuses(code, section, ({ ring, page }) => ring.offer(0, true, list(page)), made);
}

test('2.8.15: a descriptor is taken when both of its owner flags say so, and not before', () => {
  for (const [base, available] of [
    [FRESH, 0x0080],
    [0, 0x8000],
  ] as const) {
    for (const flags of [0, 0x0080, 0x8000, 0x8080]) {
      const { ring, page, device } = handMade({ base });
      ring.descriptor(0, { address: page, length: 4, flags });
      assert.deepEqual(
        [device.waiting, device.pop() !== undefined],
        [flags === available, flags === available],
      );
    }
  }
});

test('2.8.6: a list is followed in ring order and round its end, and its last descriptor has the id', () => {
  const { ring, page, device, memory } = handMade({ base: 0x8004_8004 });
  memory.write(
    page as GuestAddress,
    Uint8Array.from({ length: 64 }, (_, i) => i),
  );
  ring.offer(4, true, [
    { address: page, length: 2, id: 1 },
    { address: page + 10, length: 1, id: 2 },
    { address: page + 20, length: 3, id: 3 },
    { address: page + 30, length: 7, flags: WRITE, id: 5 },
  ]);
  const chain = device.pop()!;
  assert.deepEqual([chain.head, chain.readable, chain.writable], [5, 6, 7]);
  assert.deepEqual([...chain.readRest()], [0, 1, 10, 20, 21, 22]);
  assert.equal(device.base, 0x8004_0002);
  chain.write(Uint8Array.of(9, 9));
  device.push(chain);
  device.publish();
  // One used descriptor, in the place of the first; the next goes after all four.
  assert.deepEqual(ring.read(4), { length: 2, id: 5, flags: 0x8082 });
  assert.equal(device.base, 0x0002_0002);
  assert.equal(device.pop(), undefined);
});

test('2.8.17: a list of more descriptors than the driver can have is refused', () => {
  for (const size of [1, 2, SIZE]) {
    const every = Array.from({ length: size }, () => ({ length: 0, flags: NEXT }));
    refusesList('CHAIN_LENGTH', '2.8.17', () => every, handMade({ size }));
  }
});

test('2.8.17: a list may have as many descriptors as the queue', () => {
  for (const size of [1, 3, SIZE]) {
    const { ring, page, device } = handMade({ size });
    ring.offer(
      0,
      true,
      Array.from({ length: size }, () => ({ address: page, length: 2 })),
    );
    const chain = device.pop()!;
    assert.equal(chain.readable, 2 * size);
    device.push(chain);
    device.publish();
    assert.equal(device.base, 0);
  }
});

test('2.8.17: a list that goes on into descriptors that are with the device is refused', () => {
  refuses('CHAIN_LENGTH', '2.8.17', ({ ring, page, device }) => {
    ring.offer(0, true, [{ address: page, length: 1 }]);
    device.pop();
    ring.offer(
      1,
      true,
      Array.from({ length: SIZE }, () => ({ address: page, length: 1, id: 1 })),
    );
  });
});

test('2.8.16: a descriptor that is made available while the device has all of them is refused', () => {
  refuses('RING_OVERRUN', '2.8.16', ({ ring, page, device }) => {
    for (let i = 0; i < SIZE; i++) {
      ring.offer(i, true, [{ address: page, length: 1, id: i }]);
      device.pop();
    }
    ring.offer(0, false, [{ address: page, length: 1 }]);
  });
});

test('2.8.16: what was pushed is with the device until it is published', () => {
  const made = handMade({ size: 1 });
  const { ring, page, device } = made;
  ring.offer(0, true, [{ address: page, length: 1 }]);
  device.push(device.pop()!);
  ring.offer(0, false, [{ address: page, length: 1 }]);
  assert.throws(
    () => device.pop(),
    (error) => (error as VirtqueueError).code === 'RING_OVERRUN',
  );
});

test('2.8.17: a list of which a later descriptor is not available is refused', () => {
  for (const at of [1, 2, 4]) {
    for (const owner of [0, 0x8000, 0x8080]) {
      refuses('CHAIN_NOT_AVAILABLE', '2.8.17', ({ ring, page }) => {
        ring.offer(
          0,
          true,
          Array.from({ length: 5 }, () => ({ address: page, length: 1 })),
        );
        ring.descriptor(at, { address: page, length: 1, flags: owner | NEXT });
      });
    }
  }
  // Round the end the flags must be those of the next lap.
  refuses(
    'CHAIN_NOT_AVAILABLE',
    '2.8.17',
    ({ ring, page }) => {
      ring.offer(5, true, [
        { address: page, length: 1 },
        { address: page, length: 1 },
      ]);
      ring.descriptor(0, { address: page, length: 1, flags: 0x80 });
    },
    handMade({ base: 0x8005_8005 }),
  );
});

test('2.8.21.1: a buffer id that is not below the queue size is refused', () => {
  for (const id of [SIZE, SIZE + 1, 0x7fff, 0xffff]) {
    refusesList('BUFFER_ID', '2.8.21.1', (page) => [{ address: page, length: 1, id }]);
  }
});

test('2.8.21.1: a buffer id that is in flight is refused, and free once it was used', () => {
  refuses('BUFFER_IN_FLIGHT', '2.8.21.1', ({ ring, page, device }) => {
    ring.offer(0, true, [{ address: page, length: 1, id: 3 }]);
    device.pop();
    ring.offer(1, true, [{ address: page, length: 1, id: 3 }]);
  });
  const { ring, page, device } = handMade();
  for (let i = 0; i < 3 * SIZE; i++) {
    ring.offer(i % SIZE, Math.floor(i / SIZE) % 2 === 0, [{ address: page, length: 1, id: 3 }]);
    device.push(device.pop()!);
    device.publish();
  }
});

test('2.8.8: with IN_ORDER an id that waits for older ones is in flight too', () => {
  refuses(
    'BUFFER_IN_FLIGHT',
    '2.8.21.1',
    ({ ring, page, device }) => {
      for (const id of [0, 1]) ring.offer(id, true, [{ address: page, length: 1, id }]);
      device.pop();
      device.push(device.pop()!);
      device.publish();
      ring.offer(2, true, [{ address: page, length: 1, id: 1 }]);
    },
    handMade({ inOrder: true }),
  );
});

test('2.8.17: a readable element after a writable one is refused, even one without bytes', () => {
  for (const length of [0, 5]) {
    const pair = (page: number) => [
      { address: page, length: 1, flags: WRITE },
      { address: page, length },
    ];
    refusesList('READABLE_AFTER_WRITABLE', '2.8.17', pair);
    refuses('READABLE_AFTER_WRITABLE', '2.8.17', ({ ring, page }) => {
      ring.tableAt((page + 64) as GuestAddress, pair(page));
      ring.offer(0, true, [{ address: page + 64, length: 32, flags: INDIRECT }]);
    });
  }
});

test('2.8.4: an element outside guest memory is refused when it is popped; one without bytes does no harm', () => {
  const end = 0x1_2345_0000 + (1 << 20);
  for (const address of [0, end, end - 1, 2 ** 52, 0xffff_ffff_ffff_ffffn, 2n ** 63n]) {
    refusesList('BUFFER_UNMAPPED', '2.8.4', () => [{ address, length: 2 }]);
    refusesList('BUFFER_UNMAPPED', '2.8.4', () => [{ address, length: 0xffff_ffff, flags: WRITE }]);
    const { ring, page, device } = handMade();
    ring.offer(0, true, [
      { address, length: 0 },
      { address: page, length: 3 },
      { address, length: 0, flags: WRITE },
    ]);
    const chain = device.pop()!;
    assert.deepEqual([chain.readable, chain.writable, chain.readRest().length], [3, 0, 3]);
  }
});

test('2.8.4: a list of 2^32 bytes or more is refused, though each part is guest memory', () => {
  const made = handMade({ size: 3 });
  const huge = new MappedView(new ArrayBuffer(64));
  Object.defineProperty(huge, 'length', { value: 2 ** 31 });
  made.memory.add({ start: 0x10_0000_0000 as GuestAddress, view: huge });
  const part = { address: 0x10_0000_0000, length: 2 ** 31 };
  refusesList('CHAIN_BYTES', '2.8.4', () => [part, part], made);
});

test('2.8.7: an indirect table is followed; of its flags only F_WRITE counts, and on it F_WRITE does not', () => {
  for (const flags of [INDIRECT, INDIRECT | WRITE]) {
    const { ring, page, device, memory } = handMade();
    memory.write(page as GuestAddress, Uint8Array.of(1, 2, 3, 4));
    // NEXT, INDIRECT, the owner flags and the id are reserved in a table, and ignored.
    ring.tableAt((page + 64) as GuestAddress, [
      { address: page, length: 1, id: 0xffff, flags: 0xfffd },
      { address: page + 2, length: 2, flags: INDIRECT | NEXT },
      { address: page + 8, length: 5, flags: WRITE | 0x8080 },
    ]);
    ring.offer(0, true, [{ address: page + 64, length: 48, flags, id: 4 }]);
    const chain = device.pop()!;
    assert.deepEqual([chain.head, chain.readable, chain.writable], [4, 3, 5]);
    assert.deepEqual([...chain.readRest()], [1, 3, 4]);
    assert.equal(device.base, 0x8000_8001);
  }
});

test('2.8.19: what a driver must not do with an indirect table is refused', () => {
  const table = (length: number) => (page: number) => [{ address: page, length, flags: INDIRECT }];
  refusesList('INDIRECT_NOT_NEGOTIATED', '2.8.19', table(16), handMade({ indirect: false }));
  refusesList('INDIRECT_NEXT', '2.8.19', (page) => [...table(16)(page), { address: page, length: 1 }]);
  refusesList('INDIRECT_NEXT', '2.8.19', (page) => [{ address: page, length: 1 }, ...table(16)(page)]);
  refusesList('INDIRECT_NEXT', '2.8.19', (page) => [...table(16)(page), ...table(16)(page)]);
  for (const length of [0, 8, 17, 31, 0xffff_ffff]) refusesList('INDIRECT_LENGTH', '2.8.7', table(length));
  refusesList('INDIRECT_LENGTH', '2.8.19', table(16 * 1025));
  refusesList('INDIRECT_UNMAPPED', '2.8.7', () => table(32)(0x1_2345_0000 + (1 << 20) - 16));
  refusesList('INDIRECT_UNMAPPED', '2.8.7', () => table(16)(2 ** 53 - 8));
});

test('2.8.19: an indirect table may be longer than the queue, up to 1024 descriptors, or as long as a larger queue', () => {
  for (const [size, count] of [
    [SIZE, 1024],
    [3000, 3000],
  ] as const) {
    const { ring, page, device } = handMade({ size });
    ring.tableAt(
      page as GuestAddress,
      Array.from({ length: count }, () => ({ address: page, length: 2 })),
    );
    ring.offer(0, true, [{ address: page, length: 16 * count, flags: INDIRECT }]);
    assert.equal(device.pop()!.readable, 2 * count);
  }
});

test('2.8.7: an indirect table may lie unaligned, and across two regions', () => {
  const made = handMade();
  const { memory, ring, page, device } = made;
  const end = 0x1_2345_0000 + (1 << 20);
  memory.add({ start: end as GuestAddress, view: new MappedView(new ArrayBuffer(4096)) });
  [page + 101, end - 24].forEach((address, i) => {
    ring.tableAt(address as GuestAddress, [
      { address: page, length: 3 },
      { address: page, length: 0 },
      { address: page, length: 5, flags: WRITE },
    ]);
    ring.offer(i, true, [{ address, length: 48, flags: INDIRECT, id: i }]);
  });
  for (const chain of [device.pop()!, device.pop()!]) {
    assert.deepEqual([chain.readable, chain.writable], [3, 5]);
  }
});

test('2.8.17: chains in flight that name over a million descriptors in all are refused, so that our memory lasts', () => {
  const made = handMade({ size: 1100 });
  const { ring, page, device } = made;
  const entries = 1100;
  ring.tableAt(
    page as GuestAddress,
    Array.from({ length: entries }, () => ({ address: page, length: 1 })),
  );
  const list = (id: number) => [{ address: page, length: 16 * entries, flags: INDIRECT, id }];
  const fits = Math.floor((1 << 20) / entries);
  for (let id = 0; id < fits; id++) {
    ring.offer(id, true, list(id));
    assert.ok(device.pop() !== undefined);
  }
  refuses('TOO_MANY_SEGMENTS', '2.8.17', () => ring.offer(fits, true, list(fits)), made);
});

test('2.8.13: each field that the driver can change is read once, and what was checked is what is used', () => {
  for (const [tableAt, byWords] of [
    [undefined, false],
    [undefined, true],
    [256, false],
    [256, true],
    [257, true],
  ] as const) {
    const driver = new PoliteDriver({ packed: true });
    const [plain] = driver.memory.regions;
    const page = driver.allocator.alloc(4096, 4096).address;
    const ring = new PackedRingWriter(driver.device);
    driver.memory.write(
      page,
      Uint8Array.from({ length: 64 }, (_, i) => i),
    );
    const list = [
      { address: page, length: 3, id: 2 },
      { address: page + 10, length: 4, id: 2 },
      { address: page + 20, length: 6, flags: WRITE, id: 2 },
    ];
    if (tableAt === undefined) ring.offer(0, true, list);
    else {
      ring.tableAt((page + tableAt) as GuestAddress, list);
      ring.offer(0, true, [{ address: page + tableAt, length: 48, flags: INDIRECT, id: 2 }]);
    }
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
    const device = new PackedDeviceQueue({ ...driver.device, memory, indirect: true });
    popping = true;
    const chain = device.pop()!;
    popping = false;
    assert.deepEqual([chain.head, chain.readable, chain.writable], [2, 7, 6]);
    assert.deepEqual([...chain.readRest()], [0, 1, 2, 10, 11, 12, 13]);
    // The flags of the first come alone, then its id; where more comes with them it is not looked at.
    const id = driver.device.descriptorArea - plain!.start + 12;
    assert.ok(Math.max(...reads.subarray(id, id + 4)) <= 2);
    reads.fill(1, id, id + 4);
    assert.equal(Math.max(...new Set(reads)), 1, 'no other byte is read twice');
    const descriptors = tableAt === undefined ? 3 : 4;
    assert.equal(
      reads.reduce((a, b) => a + b),
      16 * descriptors,
      'each descriptor',
    );
  }
});
