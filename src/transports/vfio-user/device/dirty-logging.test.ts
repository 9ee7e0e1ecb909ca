import assert from 'node:assert/strict';
import { test } from 'node:test';
import { set64 } from '../../../memory/address.js';
import { ProbeDevice } from '../../pci/testing/probe-device.js';
import * as codec from '../codec.js';
import {
  decodeFeature,
  decodeLoggingControl,
  encodeFeature,
  encodeLoggingControl,
  encodeLoggingReport,
  type PageRange,
} from '../feature-codec.js';
import * as wire from '../messages.js';
import { RawClient } from '../testing/raw-client.js';
import { MEMORY_SIZE, MEMORY_START, RawDriver } from '../testing/raw-driver.js';
import { ERRNO } from '../vfio-user-error.js';

const { VFIO_DEVICE_FEATURE_GET: GET, VFIO_DEVICE_FEATURE_SET: SET, VFIO_DEVICE_FEATURE_PROBE: PROBE } = wire;
const START = wire.VFIO_DEVICE_FEATURE_DMA_LOGGING_START;
const STOP = wire.VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP;
const REPORT = wire.VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT;
const { EINVAL, ENOENT, ENOTSUP } = ERRNO;
const FEATURE = wire.VFIO_USER_DEVICE_FEATURE;

function started(shared = true): { client: RawClient; driver: RawDriver } {
  const client = new RawClient(new ProbeDevice());
  client.negotiate();
  const driver = new RawDriver(client, shared);
  driver.start();
  return { client, driver };
}

function start(client: RawClient, pageSize = 4096): DataView {
  const { error, payload } = client.ask(
    FEATURE,
    encodeFeature(START, SET, encodeLoggingControl(pageSize, [])),
  );
  assert.equal(error, 0);
  return payload;
}

const ALL: PageRange = { address: MEMORY_START, length: MEMORY_SIZE, pageSize: 4096 };

function reportOf(range: PageRange, room = 4096): Uint8Array {
  return encodeFeature(REPORT, GET, encodeLoggingReport(range), room);
}

/** The pages that are reported dirty, by number. */
function report(client: RawClient, range: PageRange = ALL): number[] {
  const { error, payload } = client.ask(FEATURE, reportOf(range));
  assert.equal(error, 0, client.warnings.at(-1));
  const { data, operations, feature, argsz } = decodeFeature(payload);
  assert.deepEqual([feature, operations, argsz], [REPORT, GET, payload.byteLength]);
  const bitmap = codec.rest(data, wire.DMA_LOGGING_REPORT.size);
  return [...bitmap].flatMap((byte, i) =>
    [...Array(8).keys()].filter((bit) => (byte >> bit) & 1).map((bit) => 8 * i + bit),
  );
}

/** The page that an address of the driver's lies in. */
function pageOf(address: number): number {
  return Math.floor((address - MEMORY_START) / 4096);
}

test('what a device writes is reported once: the buffer and the used ring, and nothing that it only read', () => {
  const { client, driver } = started();
  assert.deepEqual(driver.request(Uint8Array.of(1, 2), 2), Uint8Array.of(2, 1));
  start(client);
  assert.deepEqual(report(client), [], 'what was before');
  // Larger than a page, so that what is read and what is written lie apart.
  const long = Uint8Array.from({ length: 9000 }, (_, i) => i);
  const { readable, writable } = driver.add(long, 9000);
  driver.kick();
  assert.deepEqual(driver.receive(), long.reverse());
  const first = pageOf(writable.address);
  const last = pageOf(writable.address + 8999);
  const expected = new Set([pageOf(driver.queue.deviceArea)]);
  for (let page = first; page <= last; page++) expected.add(page);
  const dirty = new Set(report(client));
  assert.deepEqual(dirty, expected);
  assert.ok(!dirty.has(pageOf(readable.address + 4096)));
  assert.deepEqual(report(client), []);
  driver.request(Uint8Array.of(1), 1);
  assert.notDeepEqual(report(client), []);
});

test('memory by messages: what the device writes is known as well', () => {
  const { client, driver } = started(false);
  start(client);
  const { writable } = driver.add(Uint8Array.of(1, 2), 2);
  driver.kick();
  assert.deepEqual(driver.receive(), Uint8Array.of(2, 1));
  const dirty = report(client);
  assert.ok(dirty.includes(pageOf(writable.address)));
  assert.ok(dirty.includes(pageOf(driver.queue.deviceArea)));
});

test('it starts and stops while the device works, and starting twice loses nothing', () => {
  const { client, driver } = started();
  const answer = start(client, 65_536);
  assert.equal(decodeLoggingControl(decodeFeature(answer).data).pageSize, 4096, 'the size that it has');
  driver.request(Uint8Array.of(1), 1);
  start(client);
  assert.notDeepEqual(report(client), []);
  driver.request(Uint8Array.of(1), 1);
  assert.equal(client.ask(FEATURE, encodeFeature(STOP, SET)).error, 0);
  assert.equal(client.refused(FEATURE, reportOf(ALL)), EINVAL);
  assert.match(client.warnings.at(-1)!, /dirty pages are not logged/);
  assert.deepEqual(driver.request(Uint8Array.of(5, 6), 2), Uint8Array.of(6, 5));
  assert.equal(client.ask(FEATURE, encodeFeature(STOP, SET)).error, 0);
  start(client);
  assert.deepEqual(report(client), []);
});

test('reports of other page sizes: smaller pages repeat a bit, larger ones take several together', () => {
  const { client, driver } = started();
  start(client);
  const { writable } = driver.add(Uint8Array.of(1), 1);
  driver.kick();
  const page = pageOf(writable.address);
  assert.ok(page === pageOf(driver.queue.deviceArea), 'one page of all');
  assert.deepEqual(
    report(client, { ...ALL, pageSize: 1024 }),
    [0, 1, 2, 3].map((i) => 4 * page + i),
  );
  driver.request(Uint8Array.of(1), 1);
  assert.deepEqual(report(client, { ...ALL, pageSize: 0x1_0000 }), [Math.floor(page / 16)]);
});

test('DMA_UNMAP with a bitmap: the last of what was written, and the region is gone', () => {
  const { client, driver } = started();
  const unmap = (bitmap: codec.DirtyBitmap, size = MEMORY_SIZE): Uint8Array =>
    codec.encodeDmaUnmap({ flags: 1, address: MEMORY_START, size, bitmap });
  const command = wire.VFIO_USER_DMA_UNMAP;
  const bitmap = { pageSize: 4096, size: 8 };
  assert.equal(client.refused(command, unmap(bitmap)), EINVAL, 'not logged');
  start(client);
  assert.equal(client.refused(command, unmap({ pageSize: 4096, size: 16 })), EINVAL);
  assert.match(client.warnings.at(-1)!, /wants a bitmap of 16 bytes, which has 8/);
  assert.equal(client.refused(command, unmap({ pageSize: 1000, size: 8 })), EINVAL);
  assert.equal(client.refused(command, unmap(bitmap, 0x1000)), ENOENT);
  assert.equal(client.refused(command, unmap(bitmap).slice(0, 39)), EINVAL);
  const small = unmap(bitmap);
  new DataView(small.buffer).setUint32(0, 47, true);
  assert.equal(client.refused(command, small), EINVAL, 'no room');
  const huge = unmap(bitmap);
  set64(new DataView(huge.buffer), 32, 2 ** 40);
  assert.equal(client.refused(command, huge), EINVAL);
  // Nothing of that took the region away.
  assert.deepEqual(driver.request(Uint8Array.of(1, 2), 2), Uint8Array.of(2, 1));
  const { payload, error } = client.ask(command, unmap(bitmap));
  assert.equal(error, 0);
  assert.equal(payload.byteLength, 24 + 16 + 8);
  assert.deepEqual(codec.rest(payload, 0, 40), unmap(bitmap));
  assert.equal(payload.getUint8(40) & 1, 1);
  assert.equal(client.refused(command, unmap(bitmap)), ENOENT);
});

test('what goes with its region is forgotten: one that comes there later is clean', () => {
  const { client, driver } = started();
  start(client);
  driver.request(Uint8Array.of(1), 1);
  const all = codec.encodeDmaUnmap({ flags: wire.VFIO_DMA_UNMAP_FLAG_ALL, address: 0 as never, size: 0 });
  assert.equal(client.ask(wire.VFIO_USER_DMA_UNMAP, all).error, 0);
  assert.equal(client.refused(FEATURE, reportOf(ALL)), ENOENT);
  new RawDriver(client, true);
  assert.deepEqual(report(client), []);
});

test('what can be done with each feature is probed; the others, and all else, are refused by name', () => {
  const { client } = started();
  const probe = (feature: number, operations: number): number =>
    client.ask(FEATURE, encodeFeature(feature, PROBE | operations)).error;
  assert.deepEqual([probe(START, SET), probe(START, 0), probe(START, GET)], [0, 0, EINVAL]);
  assert.match(client.warnings.at(-1)!, /DMA_LOGGING_START can't be got/);
  assert.deepEqual([probe(STOP, SET), probe(STOP, GET | SET)], [0, EINVAL]);
  assert.deepEqual([probe(REPORT, GET), probe(REPORT, SET)], [0, EINVAL]);
  assert.match(client.warnings.at(-1)!, /DMA_LOGGING_REPORT can't be set/);
  const probed = encodeFeature(START, PROBE | SET);
  assert.deepEqual(codec.rest(client.ask(FEATURE, probed).payload, 0), probed, 'answered with the same');
  for (const feature of [0, 3, 4, 5, 9, 0xffff]) assert.equal(probe(feature, 0), ENOTSUP);
  assert.match(client.warnings.at(-1)!, /there is no feature 65535/);
  assert.equal(client.refused(FEATURE, encodeFeature(START, 0)), EINVAL);
  assert.match(client.warnings.at(-1)!, /says not what to do/);
  assert.equal(client.refused(FEATURE, encodeFeature(START, 0x8_0000)), EINVAL);
  assert.equal(client.refused(FEATURE, new Uint8Array(7)), EINVAL);
});

test('requests to log that can not be are refused, each by name, and nothing is logged', () => {
  const { client } = started();
  const set = (data: Uint8Array): number => client.refused(FEATURE, encodeFeature(START, SET, data));
  const control = encodeLoggingControl(4096, [{ address: 0, length: 4096 }]);
  for (let length = 0; length < control.length; length++) assert.equal(set(control.slice(0, length)), EINVAL);
  assert.equal(set(encodeLoggingControl(0, [])), EINVAL);
  assert.equal(set(encodeLoggingControl(5000, [])), EINVAL);
  assert.equal(set(encodeLoggingControl(4096, [{ address: 0, length: 0 }])), EINVAL);
  assert.equal(set(encodeLoggingControl(4096, [{ address: 2 ** 53 - 1, length: 4096 }])), EINVAL);
  const many = encodeLoggingControl(4096, []);
  new DataView(many.buffer).setUint32(8, 0xffff_ffff, true);
  assert.equal(set(many), EINVAL);
  assert.equal(client.refused(FEATURE, reportOf(ALL)), EINVAL, 'not logged');
  start(client);
  for (const wrong of [
    { ...ALL, pageSize: 0 },
    { ...ALL, length: 0 },
    { ...ALL, address: (MEMORY_START + 512) as PageRange['address'] },
    { ...ALL, length: 2 ** 50 },
  ]) {
    assert.equal(client.refused(FEATURE, reportOf(wrong)), EINVAL);
  }
  assert.equal(client.refused(FEATURE, reportOf({ ...ALL, length: MEMORY_SIZE + 4096 })), ENOENT);
  assert.equal(client.refused(FEATURE, reportOf(ALL).slice(0, 31)), EINVAL);
  assert.equal(client.refused(FEATURE, reportOf(ALL, 31)), EINVAL, 'no room for the bitmap');
  assert.equal(client.ask(FEATURE, reportOf(ALL, 32)).error, 0);
});
