import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GuestAddress } from '../memory/address.js';
import type { GuestBuffer } from '../memory/guest-allocator.js';
import { GuestMemory } from '../memory/guest-memory.js';
import { MappedView } from '../memory/mapped-view.js';
import { TranslatedMemory } from '../memory/translated-memory.js';
import { PackedDeviceQueue } from './packed/device.js';
import { descriptorAreaSize, PVIRTQ_DESC } from './packed/layout.js';
import { SplitDeviceQueue } from './split/device.js';
import { deviceAreaSize } from './split/layout.js';
import { PackedRingWriter } from './testing/packed-ring-writer.js';
import { PoliteDriver } from './testing/polite-driver.js';
import { WatchedView } from './testing/watched-view.js';

// What the ends of a ring touch, and what they leave alone.

const within = (at: number, { address, length }: GuestBuffer): boolean =>
  at >= address && at < address + length;

for (const packed of [false, true]) {
  const name = packed ? 'packed' : 'split';
  test(`2.7.5.1, 2.8.15: a device writes to where used buffers are told, and to writable buffers, which it does not read, ${name}`, () => {
    for (const [eventIdx, byWords] of [
      [false, false],
      [true, false],
      [true, true],
    ] as const) {
      const driver = new PoliteDriver({ packed, eventIdx, indirect: true, size: 8 });
      const [region] = driver.memory.regions;
      const written = new Set<number>();
      const read = new Set<number>();
      const before = (kind: string, offset: number, length: number) => {
        const seen = kind === 'write' || kind === 'store' ? written : read;
        for (let at = offset; at < offset + length; at++) seen.add(region!.start + at);
      };
      const memory = new GuestMemory();
      memory.add({ start: region!.start, view: new WatchedView(region!.view, { before, byWords }) });
      const place = { ...driver.device, memory };
      const device = packed ? new PackedDeviceQueue(place) : new SplitDeviceQueue(place);
      const { descriptorArea, deviceArea, size } = driver.device;
      const events = { address: deviceArea, length: packed ? 4 : deviceAreaSize(size) };
      for (let n = 0; n < 40; n++) {
        device.disableKicks();
        driver.send([Uint8Array.of(1, 2), Uint8Array.of(3)], n % 3 === 0 ? [] : [4, 4]);
        driver.publish();
        for (const seen of [written, read]) seen.clear();
        device.enableKicks();
        const chain = device.pop()!;
        chain.readRest();
        chain.write(new Uint8Array(9));
        device.push(chain);
        device.publish();
        const [wrote, looked] = [[...written], [...read]];
        const { readable, writable } = driver.receive()!.request;
        // A packed ring's used descriptors lie where the available ones were: length, id and flags, not the address.
        const tells = packed
          ? [{ address: (descriptorArea + 16 * (n % size) + 8) as GuestAddress, length: 8 }, events]
          : [events];
        assert.deepEqual(
          wrote.filter((at) => ![...tells, ...writable].some((place) => within(at, place))),
          [],
        );
        assert.ok(wrote.length >= 8, `${wrote.length} bytes`);
        assert.ok(!looked.some((at) => writable.some((buffer) => within(at, buffer))));
        assert.ok(readable.every((buffer) => looked.some((at) => within(at, buffer))));
      }
    }
  });
}

test('2.8.19: an indirect table has no flags but F_WRITE, and is named alone', () => {
  const driver = new PoliteDriver({ packed: true, indirect: true });
  driver.send([Uint8Array.of(1), Uint8Array.of(2, 2)], [3, 4]);
  driver.publish();
  const ring = new PackedRingWriter(driver.device);
  assert.deepEqual([ring.read(0).flags, ring.read(0).length, ring.read(1).flags], [0x84, 64, 0]);
  const first = new Uint8Array(8);
  driver.memory.read(driver.device.descriptorArea, first);
  const table = new Uint8Array(64);
  driver.memory.read(Number(new DataView(first.buffer).getBigUint64(0, true)) as GuestAddress, table);
  const view = new DataView(table.buffer);
  const entries = [0, 16, 32, 48].map((at) => [
    view.getUint32(at + PVIRTQ_DESC.len, true),
    view.getUint16(at + PVIRTQ_DESC.flags, true),
  ]);
  assert.deepEqual(entries, [
    [1, 0],
    [2, 0],
    [3, 2],
    [4, 2],
  ]);
  assert.equal(descriptorAreaSize(4), table.length);
});

for (const [name, border] of [
  ['between the bytes of an index', 0x2003],
  ['between the id of a descriptor and its flags', 0x1ffe],
] as const) {
  test(`2.7, 2.8.10.1: a ring of pieces whose border lies ${name} is refused as one that is not aligned`, () => {
    const bytes = new MappedView(new ArrayBuffer(0x1_0000));
    const resolve = (target: number, length: number) =>
      target + length <= bytes.length ? bytes.slice(target, length) : undefined;
    const memory = new TranslatedMemory({ resolve, wanted: () => {} });
    memory.map(0, border, 0, 3);
    memory.map(border, 0x1000, 0x8000 + (border % 16), 3);
    const at = (address: number) => address as GuestAddress;
    const negotiated = { memory, size: 8, eventIdx: false, indirect: false };
    const areas = { driverArea: at(0x2000), deviceArea: at(0x2100) };
    const split = { ...negotiated, ...areas, descriptorArea: at(0x1000), base: 0 };
    const packed = { ...negotiated, ...areas, descriptorArea: at(0x1ff0), base: 0x8000_8000 };
    const refused = { code: 'AREA_ALIGNMENT' };
    if (border === 0x2003) assert.throws(() => new SplitDeviceQueue(split), refused);
    assert.throws(() => new PackedDeviceQueue(packed), refused);
  });
}
