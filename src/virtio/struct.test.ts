import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { printable } from '../lines/printable.js';
import { array } from './array.js';
import { canCompile, compiledCodec } from './compiled-codec.js';
import { defineDevice } from './define-device.js';
import { interpretedCodec } from './interpreted-codec.js';
import { be16, be32, be64, be64big, s8, sle16 } from './other-numbers.js';
import {
  bytes,
  type Field,
  type Fields,
  le16,
  le32,
  le64,
  le64big,
  type Struct,
  sle32,
  struct,
  text,
  u8,
} from './struct.js';
import { structQueue } from './struct-queue.js';
import { tail } from './tail.js';
import { DeviceBench } from './testing/device-bench.js';

const raw = (...values: number[]): Uint8Array => Uint8Array.from(values);

/** A field of somebody else's: a number with its bits turned over, in the first of two bytes. */
const inverse: Field<number> = {
  size: 2,
  read: (view, offset) => 255 - view.getUint8(offset),
  write: (view, offset, value) => view.setUint8(offset, 255 - value),
};

const all = struct({ a: u8, b: le16, c: le32, d: sle32, e: le64, f: le64big, g: bytes(3), h: text(4) });
const values = {
  a: 255,
  b: 0x0102,
  c: 0xffff_fffe,
  d: -2,
  e: 2 ** 53 - 1,
  f: 2n ** 64n - 1n,
  g: raw(1, 2, 3),
  h: 'hi',
};

test('code is made of structs unless that is forbidden', () => {
  assert.equal(canCompile, !process.execArgv.includes('--disallow-code-generation-from-strings'));
});

describe('struct', () => {
  test('fields lie one after the other, little-endian, and come back as they went', () => {
    const encoded = all.encode(values);
    assert.equal(encoded.length, all.size);
    assert.deepEqual(all.offsets, { a: 0, b: 1, c: 3, d: 7, e: 11, f: 19, g: 27, h: 30 });
    assert.deepEqual([...encoded.subarray(0, 7)], [255, 2, 1, 254, 255, 255, 255]);
    assert.deepEqual(all.decode(encoded), values);
    assert.deepEqual(Object.keys(all.decode(encoded)), Object.keys(values));
  });

  test('what does not fit is refused', () => {
    assert.throws(() => struct({ t: text(2) }).encode({ t: 'abc' }), /RangeError: 3 bytes do not fit into 2/);
    assert.throws(() => struct({ t: text(2) }).encode({ t: 'ab\u0100' }), /RangeError: .*U\+00FF/);
    assert.throws(() => struct({ t: text(2) }).encode({ t: '😀' }), RangeError);
    assert.throws(
      () => struct({ t: bytes(2) }).encode({ t: raw(1, 2, 3) }),
      /RangeError: 3 bytes do not fit into 2/,
    );
    assert.throws(() => struct({ n: le32 }).decode(raw(1, 2, 3)), /RangeError: .*4 bytes is not in 3/);
    assert.throws(() => struct({ n: le32 }).encodeInto({}, raw(1, 2, 3)), /RangeError: .*4 bytes .* into 3/);
    assert.throws(() => struct({ n: { ...u8, size: 0.5 } }), /RangeError: field n has 0.5 bytes/);
  });

  test('a value of another type is a TypeError, and makes no bytes of others', () => {
    for (const [field, value] of [
      [text(4), 5],
      [text(4), null],
      [le32, 5n],
      [le64, 5n],
      [le64big, 5],
    ] as const) {
      const one = struct({ before: le32, value: field as Field<unknown> });
      const into = raw(9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9);
      assert.throws(() => one.encodeInto({ before: 1, value }, into), TypeError, String(value));
      assert.deepEqual([...into.subarray(0, 4)], [1, 0, 0, 0]);
    }
  });

  test('numbers outside of a field wrap; what is left out is zeros, whatever was there', () => {
    const wide = struct({ a: u8, b: le16, c: le32, d: sle32, e: le64, f: le64big });
    const wrapped = wide.decode(wide.encode({ a: 257.9, b: -1, c: 2 ** 32 + 5, d: 2 ** 31, e: -1, f: -1n }));
    assert.deepEqual(wrapped, { a: 1, b: 0xffff, c: 5, d: -(2 ** 31), e: 2 ** 64, f: 2n ** 64n - 1n });
    const into = new Uint8Array(all.size + 2).fill(0xee);
    all.encodeInto({ h: 'x' }, into);
    assert.deepEqual([...into], [...new Uint8Array(30), 0x78, 0, 0, 0, 0xee, 0xee]);
  });

  test('values are of their own: a Buffer, or an array that is used again, changes none', () => {
    const from = Buffer.concat([all.encode(values), Buffer.from('more')]);
    const decoded = all.decode(from);
    from.fill(0);
    assert.deepEqual(decoded, values);
    assert.equal(Object.getPrototypeOf(decoded.g), Uint8Array.prototype);
    const view: Field<Uint8Array> = {
      size: 2,
      read: ({ buffer, byteOffset }, offset) => new Uint8Array(buffer, byteOffset + offset, 2),
      write: () => {},
    };
    const array = raw(1, 2, 3);
    const kept = struct({ n: u8, view }).decode(array);
    array.fill(0);
    assert.deepEqual(kept, { n: 1, view: raw(2, 3) });
  });

  test('text ends at its first NUL, and keeps all of the 256 characters', () => {
    const name = struct({ name: text(6) });
    assert.deepEqual(name.decode(raw(0x61, 0, 0x62, 0, 0, 0)), { name: 'a' });
    assert.deepEqual(name.decode(raw(0, 0x62, 0, 0, 0, 0)), { name: '' });
    assert.deepEqual(name.decode(raw(0x61, 0x62, 0x80, 0x9f, 0xff, 0x7a)), { name: 'ab\x80\x9f\xffz' });
    const wide = struct({ name: text(70_000) });
    assert.equal(wide.decode(wide.encode({ name: '\xe9'.repeat(70_000) })).name, '\xe9'.repeat(70_000));
  });

  test('any name is a name, and no code', () => {
    const names = ['__proto__', 'constructor', '"]; throw 1; //', '\u2028', '`', 'b', 'v', '1', ''];
    const fields = Object.fromEntries(names.map((name) => [name, le16]));
    const odd = struct(fields);
    const given = Object.fromEntries(names.map((name, i) => [name, i + 1]));
    const decoded = odd.decode(odd.encode(given));
    assert.deepEqual(Object.entries(decoded), Object.entries(given));
    assert.equal(Object.getPrototypeOf(decoded), Object.prototype);
  });
});

type FieldAndValue = readonly [Field<unknown>, unknown];

/** A field and a value for it. */
const number = fc.oneof(fc.integer(), fc.double(), fc.constant(undefined));
const leaf: fc.Arbitrary<FieldAndValue> = fc.oneof(
  fc.tuple(
    fc.constantFrom(u8, s8, le16, sle16, be16, le32, sle32, be32, le64, be64, inverse),
    fc.oneof(number, fc.constantFrom('1', null, Number.NaN)),
  ),
  fc.tuple(fc.constantFrom(le64big, be64big), fc.option(fc.bigInt(), { nil: undefined })),
  fc
    .nat(20)
    .chain((size) =>
      fc.tuple(
        fc.constant(bytes(size)),
        fc.option(fc.uint8Array({ maxLength: size + 1 }), { nil: undefined }),
      ),
    ),
  fc.nat(20).chain((size) =>
    fc.tuple(
      fc.constant(text(size)),
      fc.option(
        fc.array(fc.nat(0x101), { maxLength: size + 1 }).map((codes) => String.fromCharCode(...codes)),
        { nil: undefined },
      ),
    ),
  ),
) as fc.Arbitrary<FieldAndValue>;

/** Fields by name, and values by name. */
function together(list: readonly FieldAndValue[]): { shape: Struct<Fields>; given: Record<string, unknown> } {
  const pairs = list.map(([field], i) => [`f${i}`, field] as const);
  const given = list.map(([, value], i) => [`f${i}`, value] as const);
  return { shape: struct(Object.fromEntries(pairs) as Fields), given: Object.fromEntries(given) };
}

const nested: fc.Arbitrary<FieldAndValue> = fc
  .tuple(fc.array(leaf, { maxLength: 3 }), fc.constantFrom(0, 0, 0, 1))
  .map(([list, missing]) => {
    const { shape, given } = together(list);
    return [shape as Field<unknown>, missing === 1 ? undefined : given];
  });

/** The same value again and again, perhaps once too often. */
function several(one: fc.Arbitrary<FieldAndValue>): fc.Arbitrary<FieldAndValue> {
  return fc
    .tuple(one, fc.nat(3), fc.nat(4))
    .map(([[field, value], count, given]) => [
      array(field, count) as Field<unknown>,
      given === 4 ? undefined : Array(given).fill(value),
    ]);
}

/** Only the last of a struct. */
const open: fc.Arbitrary<FieldAndValue> = fc.oneof(
  fc.tuple(fc.constant(tail(40)), fc.uint8Array({ maxLength: 41 })),
  fc
    .tuple(leaf, fc.nat(4))
    .filter(([[field]]) => field.size > 0)
    .map(([[field, value], count]) => [tail(field, 3), Array(count).fill(value)] as const),
) as fc.Arbitrary<FieldAndValue>;

const inner = fc.oneof(leaf, leaf, leaf, nested, several(leaf), several(nested), several(several(leaf)));
const closedList = fc.array(inner, { maxLength: 7 });
const structAndValues = fc
  .tuple(closedList, fc.option(open, { nil: undefined, freq: 4 }))
  .map(([list, last]) => together(last === undefined ? list : [...list, last]));

/** Bytes enough for any of these. */
const plenty = fc.uint8Array({ minLength: 97, maxLength: 97 }).map((some) => {
  const all = new Uint8Array(8000);
  for (let at = 0; at + some.length <= all.length; at += some.length) all.set(some, at);
  return all;
});

/** What it returns or throws, to be compared. */
function outcome(call: () => unknown): unknown {
  try {
    return { returned: call() };
  } catch (error) {
    return { name: (error as Error).name, message: (error as Error).message };
  }
}

test('compiled and interpreted structs are the same in both directions', { skip: !canCompile }, () => {
  fc.assert(
    fc.property(structAndValues, plenty, ({ shape, given }, random) => {
      const compiled = compiledCodec(shape.size, shape.placed);
      const interpreted = interpretedCodec(shape.size, shape.placed);
      const encoded = [compiled, interpreted].map((codec) =>
        outcome(() => {
          const into = random.slice();
          codec.encode(given, into);
          return into;
        }),
      );
      assert.deepEqual(encoded[0], encoded[1]);
      const some = random.subarray(0, shape.most);
      assert.deepEqual(compiled.decode(some), interpreted.decode(some));
    }),
    { numRuns: 1000 },
  );
});

test('a queue reads and answers as the structs alone do, one request after the other', () => {
  fc.assert(
    fc.property(
      structAndValues.filter(({ shape }) => shape.size > 0),
      fc.array(fc.tuple(plenty, fc.boolean()), { maxLength: 5 }),
      ({ shape, given }, requests) => {
        const interpreted = interpretedCodec(shape.size, shape.placed);
        const seen: unknown[] = [];
        const device = defineDevice({
          id: 63,
          name: 'echo',
          queues: [
            structQueue({
              name: 'q',
              request: shape as Struct<Fields>,
              response: shape as Struct<Fields>,
              handle: (request) => {
                seen.push(request);
                return (requests[seen.length - 1]![1] ? request : given) as never;
              },
            }),
          ],
        })();
        const bench = new DeviceBench(device);
        for (const [random, echo] of requests) {
          const request = random.subarray(0, shape.most);
          const answer = bench.ask(0, request, shape.most)!;
          const decoded = interpreted.decode(request);
          assert.deepEqual(seen.at(-1), decoded);
          const values = echo ? decoded : given;
          const expected = outcome(() => {
            const problem = shape.problem(values);
            if (problem !== undefined) throw new TypeError(`the answer of q can't be sent: ${problem}`);
            const into = new Uint8Array(shape.sizeOf(values));
            interpreted.encode(values, into);
            return into;
          }) as { returned: Uint8Array } | { message: string };
          if ('message' in expected) {
            assert.equal(answer.length, 0);
            assert.equal(
              bench.warnings.at(-1)!,
              `echo: a request on q failed: ${printable(expected.message)}`,
            );
          } else assert.deepEqual(answer, expected.returned);
        }
        assert.deepEqual(
          seen,
          requests.map(([random]) => interpreted.decode(random.subarray(0, shape.most))),
        );
      },
    ),
    { numRuns: 300 },
  );
});

test('what one front-end wrote does not come to another, nor to a later request', () => {
  const shape = struct({ n: le32, name: text(8) });
  const seen: unknown[] = [];
  const make = defineDevice({
    id: 63,
    name: 'names',
    queues: [structQueue({ name: 'q', request: shape, handle: ({ name }) => void seen.push(name) })],
  });
  const benches = [new DeviceBench(make()), new DeviceBench(make())];
  for (const [which, name] of [
    [0, 'one'],
    [0, 'one'],
    [1, ''],
    [0, 'ones'],
    [0, 'on'],
    [1, 'eightlet'],
    [0, ''],
    [1, 'eightlet'],
  ] as const) {
    benches[which]!.ask(0, shape.encode({ name }), 0);
  }
  assert.deepEqual(seen, ['one', 'one', '', 'ones', 'on', 'eightlet', '', 'eightlet']);
});
