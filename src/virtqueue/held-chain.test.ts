import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { GuestAddress } from '../memory/address.js';
import { MappedView } from '../memory/mapped-view.js';
import { MemoryError } from '../memory/memory-error.js';
import type { MemoryView } from '../memory/memory-view.js';
import { SplitDeviceQueue } from './split/device.js';
import { PoliteDriver } from './testing/polite-driver.js';

const bytes = (...values: number[]) => Uint8Array.from(values);

function pop(pieces: Uint8Array[], room: number[] = []) {
  const driver = new PoliteDriver();
  const device = new SplitDeviceQueue(driver.device);
  assert.ok(driver.send(pieces, room));
  driver.publish();
  const chain = device.pop();
  assert.ok(chain !== undefined);
  return { driver, device, chain };
}

test('2.7.4.1: where the driver cut a request into descriptors can not be seen', () => {
  const message = Uint8Array.from({ length: 280 }, (_, i) => i);
  const cuts = fc.array(fc.integer({ min: 1, max: 70 }), { minLength: 1, maxLength: 4 });
  const steps = fc.array(fc.tuple(fc.nat(90), fc.boolean()), { maxLength: 12 });
  fc.assert(
    fc.property(cuts, steps, (lengths, reads) => {
      let total = 0;
      const pieces = lengths.map((length) => {
        total += length;
        return message.slice(total - length, total);
      });
      const { chain } = pop(pieces);
      assert.equal(chain.readable, total);
      let at = 0;
      for (const [length, skip] of reads) {
        const expected = Math.min(length, total - at);
        if (skip) assert.equal(chain.skip(length), expected);
        else {
          const into = new Uint8Array(length + 4);
          assert.equal(chain.read(into, 2, length), expected);
          const wanted = new Uint8Array(length + 4);
          wanted.set(message.subarray(at, at + expected), 2);
          assert.deepEqual(into, wanted);
        }
        at += expected;
        assert.equal(chain.consumed, at);
      }
      assert.deepEqual(chain.readRest(), message.slice(at, total));
      assert.equal(chain.consumed, total);
      assert.equal(chain.readRest().length, 0);
    }),
  );
});

test('2.7.8: what is written fills the writable descriptors in order, and is counted', () => {
  const rooms = fc.array(fc.integer({ min: 1, max: 70 }), { minLength: 1, maxLength: 4 });
  const steps = fc.array(fc.nat(90), { maxLength: 8 });
  fc.assert(
    fc.property(rooms, steps, (room, writes) => {
      const { driver, device, chain } = pop([bytes(1)], room);
      const total = room.reduce((a, b) => a + b);
      assert.equal(chain.writable, total);
      const expected: number[] = [];
      for (const length of writes) {
        const from = Uint8Array.from({ length: length + 3 }, (_, i) => expected.length + i);
        const done = Math.min(length, total - expected.length);
        assert.equal(chain.write(from, 3, length), done);
        expected.push(...from.subarray(3, 3 + done));
        assert.equal(chain.written, expected.length);
      }
      device.push(chain);
      device.publish();
      assert.deepEqual([...driver.receive()!.bytes], expected);
    }),
  );
});

test('a chain of one kind only has nothing of the other', () => {
  const read = pop([bytes(1, 2)]).chain;
  assert.deepEqual([read.readable, read.writable, read.write(bytes(9))], [2, 0, 0]);
  const write = pop([], [2]).chain;
  assert.deepEqual(
    [write.readable, write.writable, write.read(new Uint8Array(1)), write.skip(5)],
    [0, 2, 0, 0],
  );
});

test('arguments that can not be are refused, and nothing is read or written', () => {
  const { chain } = pop([bytes(1, 2, 3)], [3]);
  const array = new Uint8Array(4);
  for (const [start, length] of [
    [-1, 2],
    [0, 5],
    [3, 2],
    [0, -1],
    [Number.NaN, 1],
    [0, Number.NaN],
  ] as const) {
    assert.throws(() => chain.read(array, start, length), RangeError, `${start} ${length}`);
    assert.throws(() => chain.write(array, start, length), RangeError, `${start} ${length}`);
  }
  assert.throws(() => chain.skip(-1), RangeError);
  assert.throws(() => chain.skip(Number.NaN), RangeError);
  assert.deepEqual([chain.consumed, chain.written], [0, 0]);
});

test('a chain that was pushed is stale: it can not be read, written or pushed', () => {
  const { device, chain } = pop([bytes(1, 2)], [2]);
  device.push(chain);
  assert.throws(() => chain.read(new Uint8Array(1)), TypeError);
  assert.throws(() => chain.readRest(), TypeError);
  assert.throws(() => chain.skip(1), TypeError);
  assert.throws(() => chain.write(bytes(1)), TypeError);
  assert.throws(() => device.push(chain), TypeError);
});

test('a head that is used again starts from its first byte, however far the last use came', () => {
  const { driver, device, chain } = pop([bytes(1, 2), bytes(3)], [2, 2]);
  const { head } = chain;
  chain.read(new Uint8Array(1));
  chain.write(bytes(9, 9, 9));
  device.push(chain);
  device.publish();
  driver.receive();
  driver.send([bytes(4, 5), bytes(6)], [2, 2]);
  driver.publish();
  const again = device.pop()!;
  assert.deepEqual([again.head, again.consumed, again.written], [head, 0, 0]);
  assert.deepEqual([...again.readRest()], [4, 5, 6]);
  assert.equal(again.write(bytes(1, 2, 3, 4, 5)), 4);
  device.push(again);
  device.publish();
  assert.deepEqual([...driver.receive()!.bytes], [1, 2, 3, 4]);
});

test('a chain of another queue, or of nobody, can not be pushed', () => {
  const { device, chain } = pop([bytes(1)]);
  const other = pop([bytes(1)]);
  assert.equal(other.chain.head, chain.head);
  assert.throws(() => device.push(other.chain), TypeError);
  assert.throws(() => device.push({ ...chain, head: 77 } as never), TypeError);
  assert.deepEqual([device.owns(chain), device.owns(other.chain)], [true, false]);
  assert.equal(device.inFlight, 1);
  device.push(chain);
  assert.equal(device.inFlight, 0);
});

test('a queue that was closed leaves nothing that could touch guest memory', () => {
  const { driver, device, chain } = pop([bytes(1, 2)], [2]);
  driver.send([bytes(3)]);
  driver.publish();
  device.close();
  assert.throws(() => chain.write(bytes(9)), TypeError);
  assert.throws(() => chain.read(new Uint8Array(1)), TypeError);
  assert.throws(() => device.push(chain), TypeError);
  assert.deepEqual([device.pop(), device.publish(), device.enableKicks()], [undefined, false, false]);
  device.disableKicks();
  assert.deepEqual([device.inFlight, device.base, driver.receive()], [0, 1, undefined]);
});

test('memory that goes while the device holds a chain: an error, and no byte counted that was not written', () => {
  const { driver, device, chain } = pop([bytes(1)], [4, 4]);
  const [region] = driver.memory.clear();
  assert.throws(() => chain.read(new Uint8Array(1)), MemoryError);
  assert.throws(() => chain.write(new Uint8Array(8)), MemoryError);
  assert.deepEqual([chain.consumed, chain.written], [0, 0]);
  driver.memory.add(region!);
  assert.equal(chain.write(new Uint8Array(8)), 8);
  device.push(chain);
  assert.equal(device.publish(), true);
});

test('memory that goes half-way: the part that was written before is counted', () => {
  const driver = new PoliteDriver();
  const { memory } = driver;
  const extra = { start: 0x100 as GuestAddress, view: new MappedView(new ArrayBuffer(16)) };
  memory.add(extra);
  const first = driver.allocator.alloc(4);
  const writable = [first, { address: extra.start, length: 16 }];
  driver.queue.add([], writable, { readable: [], writable });
  driver.publish();
  const device = new SplitDeviceQueue(driver.device);
  const chain = device.pop()!;
  memory.remove(extra.start, 16);
  assert.throws(() => chain.write(new Uint8Array(20)), MemoryError);
  assert.equal(chain.written, 4);
});

/** So many bytes of memory, each of which is its offset's lowest digit in base 251. */
function long(length: number): MemoryView {
  const view: MemoryView = new MappedView(new ArrayBuffer(0));
  const copyOut = (offset: number, into: Uint8Array, start: number, count: number) => {
    for (let i = 0; i < count; i++) into[start + i] = (offset + i) % 251;
  };
  return Object.create(view, { length: { value: length }, copyOut: { value: copyOut } });
}

test('2.7.4: buffers may lie in any regions, across two of them, and gigabytes from where one begins', () => {
  const GIB = 2 ** 30;
  const [near, next, far] = [0x10_0000, 0x10_1000, 0x100_0000_0000] as GuestAddress[];
  const places: [address: number, first: number][] = [
    [near!, 0],
    [next! - 3, 0xffd],
    [next!, 0],
    [far! + 5, 5],
    [far! + 2 * GIB - 3, 2 * GIB - 3],
    [far! + 2 * GIB, 2 * GIB],
    [far! + 5 * GIB, 5 * GIB],
  ];
  const some = fc.array(fc.constantFrom(...places), { minLength: 1, maxLength: 4 });
  const driver = new PoliteDriver();
  driver.memory.add({ start: near!, view: long(0x1000) });
  driver.memory.add({ start: next!, view: long(0x1000) });
  driver.memory.add({ start: far!, view: long(6 * GIB) });
  const device = new SplitDeviceQueue(driver.device);
  fc.assert(
    fc.property(some, (chosen) => {
      const readable = chosen.map(([address]) => ({ address: address as GuestAddress, length: 6 }));
      driver.queue.add(readable, [], { readable: [], writable: [] });
      driver.publish();
      const chain = device.pop()!;
      const wanted = chosen.flatMap(([address, first]) =>
        Array.from({ length: 6 }, (_, i) => (address === next! - 3 && i >= 3 ? i - 3 : (first + i) % 251)),
      );
      assert.deepEqual([...chain.readRest()], wanted);
      device.push(chain);
      device.publish();
      driver.receive();
    }),
  );
});
