import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { array } from '../virtio/array.js';
import { be64big, sle16 } from '../virtio/other-numbers.js';
import { bytes, le16, le32, le64, struct, text, u8 } from '../virtio/struct.js';
import { tail } from '../virtio/tail.js';
import { union } from '../virtio/union.js';
import { KNOWN_SHAPES } from './known-shapes.js';
import { NUMBER_SIZES, parseShape, type Shape, shapeOf, shapeText, type WireNumber } from './shape.js';
import { ShapeLayout } from './shape-layout.js';

const Inner = struct({ a: u8, b: sle16 });
const Request = struct({
  type: le32,
  name: text(4),
  raw: bytes(2),
  pair: array(Inner, 2),
  big: be64big,
  rest: union('what', u8, { ONE: [1, struct({ n: le16 })], MANY: [2, struct({ list: tail(le16, 9) })] }),
});

test('the shape of a struct, as text and back, reads what the struct wrote', () => {
  const written = shapeText(shapeOf(Request));
  assert.equal(
    written,
    '{type:le32,name:text(4),raw:bytes(2),pair:array({a:u8,b:sle16},2),big:be64big,rest:union(what:u8,ONE=1:{n:le16},MANY=2:{list:tail(le16)})}',
  );
  const shape = parseShape(written)!;
  assert.equal(shapeText(shape), written);
  const values = {
    type: 7,
    name: 'abc',
    raw: Uint8Array.of(1, 2),
    pair: [
      { a: 1, b: -2 },
      { a: 3, b: -4 },
    ],
    big: 2n ** 63n,
    rest: { what: 'MANY', list: [5, 6, 7] },
  } as const;
  const read = new ShapeLayout(shape).decode(Request.encode(values as never));
  assert.deepEqual(read, values);
});

test('fields behind a tail keep their place', () => {
  const layout = new ShapeLayout(parseShape('{data:tail(),status:u8}')!);
  assert.deepEqual(layout.decode(Uint8Array.of(1, 2, 3, 0)), { data: Uint8Array.of(1, 2, 3), status: 0 });
  assert.deepEqual(layout.decode(Uint8Array.of(9)), { data: new Uint8Array(), status: 9 });
  assert.throws(() => layout.decode(new Uint8Array()), RangeError);
});

test('a tag that is unknown is told with its number; numbers up to 2^53 are numbers', () => {
  const layout = new ShapeLayout(parseShape('union(type:le32,ONE=1:{n:le64})')!);
  assert.deepEqual(layout.decode(Uint8Array.of(9, 0, 0, 0, 5)), { type: 'unknown', tag: 9 });
  const one = struct({ tag: le32, n: le64 }).encode({ tag: 1, n: 2 ** 40 });
  assert.deepEqual(layout.decode(one), { type: 'ONE', n: 2 ** 40 });
});

test('every shape that is known can be read', () => {
  for (const queues of Object.values(KNOWN_SHAPES)) {
    for (const { request, response } of Object.values(queues)) {
      for (const written of [request, response])
        if (written !== undefined) assert.equal(shapeText(parseShape(written)!), written);
    }
  }
});

const word = fc.stringMatching(/^[A-Za-z_][A-Za-z0-9_]{0,8}$/);
const number = fc.constantFrom(...(Object.keys(NUMBER_SIZES) as WireNumber[]));
const { shape: anyShape } = fc.letrec<{ shape: Shape }>((tie) => ({
  shape: fc.oneof(
    { maxDepth: 4 },
    number.map((type): Shape => ({ kind: 'number', type })),
    fc.record({ kind: fc.constantFrom('bytes' as const, 'text' as const), size: fc.nat(100) }),
    fc.record({ kind: fc.constant('array' as const), element: tie('shape'), count: fc.nat(9) }),
    fc.record({ kind: fc.constant('tail' as const), element: fc.option(tie('shape'), { nil: undefined }) }),
    fc.record({
      kind: fc.constant('struct' as const),
      fields: fc.array(fc.tuple(word, tie('shape')), { maxLength: 4 }),
    }),
    fc.record({
      kind: fc.constant('union' as const),
      key: word,
      tag: number,
      arms: fc.array(fc.tuple(word, fc.nat(99), tie('shape')), { maxLength: 3 }),
    }),
  ),
}));

test('any shape comes back from its text, and reads any bytes or says that they are too few', () => {
  fc.assert(
    fc.property(anyShape, fc.uint8Array({ maxLength: 200 }), (shape, given) => {
      assert.equal(shapeText(parseShape(shapeText(shape))!), shapeText(shape));
      try {
        new ShapeLayout(shape).decode(given);
      } catch (error) {
        assert.ok(error instanceof RangeError);
      }
    }),
  );
});

test('what is no shape is none, however long or deep', () => {
  const deep = `${'{a:'.repeat(100)}u8${'}'.repeat(100)}`;
  for (const none of [
    '',
    'u9',
    '{a}',
    '{a:u8',
    'text()',
    'text(x)',
    'union(a:u8,b:u8)',
    'u8u8',
    deep,
    'é',
    'x'.repeat(70_000),
  ])
    assert.equal(parseShape(none), undefined);
  fc.assert(fc.property(fc.string(), (written) => void parseShape(written)));
});
