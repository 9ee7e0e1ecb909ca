import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import * as misc from '../src/devices/misc/wire.js';
import * as virtioTest from '../src/devices/test/wire.js';
import { Struct } from '../src/virtio/struct.js';

/** The headers lie beside the sources, two folders up from `dist/test`. */
const UAPI = new URL('../../guest/linux/include/uapi/linux/', import.meta.url);

type Layout = Readonly<Record<string, number>>;

/** What a C header says: its number macros, and the offset of each field of its structs on the wire, with `size`. */
function header(name: string): {
  readonly defines: Layout;
  readonly structs: Readonly<Record<string, Layout>>;
} {
  const text = readFileSync(new URL(name, UAPI), 'utf8').replace(/\/\*.*?\*\//gs, '');
  const defines = Object.fromEntries(
    [...text.matchAll(/^#define (\w+)\s+(\d+)$/gm)].map(([, macro, value]) => [macro!, Number(value)]),
  );
  const structs = Object.fromEntries(
    [...text.matchAll(/^struct (\w+) \{(.*?)^\};/gms)]
      .filter(([, , body]) => /__le/.test(body!))
      .map(([, struct, body]) => [struct!, layout(body!)]),
  );
  return { defines, structs };
}

/** Fields at their natural alignment, as C lays them out. */
function layout(body: string): Layout {
  const fields: Record<string, number> = {};
  let offset = 0;
  let alignment = 1;
  for (const [, type, name, count] of body.matchAll(/(\w+) (\w+)(?:\[(\d+)\])?;/g)) {
    const size = { __le32: 4, __le64: 8, char: 1 }[type!];
    assert.ok(size !== undefined, `field ${name} has type ${type}`);
    alignment = Math.max(alignment, size);
    offset = Math.ceil(offset / size) * size;
    fields[name!] = offset;
    offset += size * Number(count ?? 1);
  }
  fields.size = Math.ceil(offset / alignment) * alignment;
  return fields;
}

function layoutOf(struct: unknown): Layout {
  return struct instanceof Struct ? { ...struct.offsets, size: struct.size } : (struct as Layout);
}

test('virtio_misc.h and wire.ts say the same', () => {
  const { defines, structs } = header('virtio_misc.h');
  const same = (struct: string, ours: unknown): void =>
    assert.deepEqual({ ...layoutOf(ours) }, structs[struct], struct);
  same('virtio_misc_config', misc.CONFIG);
  same('virtio_misc_req_set_timer', misc.SET_TIMER);
  same('virtio_misc_req_cancel_timer', misc.CANCEL_TIMER);
  same('virtio_misc_req_set_timer_ns', misc.SET_TIMER_NS);
  const { sizeWithCount, size, ...notification } = misc.NOTIFICATION;
  same('virtio_misc_notification', { ...notification, size: sizeWithCount });
  assert.equal(size, structs.virtio_misc_notification!.expirations);

  const bit = (name: string): bigint => 1n << BigInt(defines[name]!);
  assert.equal(defines.VIRTIO_ID_MISC, misc.VIRTIO_ID_MISC);
  assert.equal(bit('VIRTIO_MISC_F_CANCEL'), misc.VIRTIO_MISC_F_CANCEL);
  assert.equal(bit('VIRTIO_MISC_F_PERIODIC'), misc.VIRTIO_MISC_F_PERIODIC);
  assert.equal(bit('VIRTIO_MISC_F_NSEC'), misc.VIRTIO_MISC_F_NSEC);
  assert.equal(defines.VIRTIO_MISC_SET_TIMER, misc.VIRTIO_MISC_SET_TIMER);
  assert.equal(defines.VIRTIO_MISC_CANCEL_TIMER, misc.VIRTIO_MISC_CANCEL_TIMER);
  assert.equal(defines.VIRTIO_MISC_SET_TIMER_NS, misc.VIRTIO_MISC_SET_TIMER_NS);
  assert.equal(defines.VIRTIO_MISC_TIMER_EXPIRED, misc.VIRTIO_MISC_TIMER_EXPIRED);
  const statuses = Object.entries(defines).filter(([name]) => name.startsWith('VIRTIO_MISC_S_'));
  assert.deepEqual(
    Object.fromEntries(statuses.map(([name, value]) => [name.slice('VIRTIO_MISC_S_'.length), value])),
    misc.STATUS,
  );
});

test('virtio_test.h and wire.ts say the same', () => {
  const { defines, structs } = header('virtio_test.h');
  assert.deepEqual(layoutOf(virtioTest.Config), structs.virtio_test_config);
  assert.deepEqual(layoutOf(virtioTest.Request), structs.virtio_test_request);
  assert.deepEqual(layoutOf(virtioTest.Response), structs.virtio_test_response);
  assert.equal(defines.VIRTIO_ID_TEST, virtioTest.VIRTIO_ID_TEST);
  const features = Object.entries(defines).filter(([name]) => name.startsWith('VIRTIO_TEST_F_'));
  assert.deepEqual(
    Object.fromEntries(features.map(([name, value]) => [name.slice('VIRTIO_TEST_F_'.length), value])),
    virtioTest.FEATURES,
  );
});
