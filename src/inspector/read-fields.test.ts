import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseShape } from '../record/shape.js';
import { fieldNames } from './field-names.js';
import { fieldsText, fieldViews } from './field-view.js';
import { readFields } from './read-fields.js';

const SHAPE = parseShape(
  'union(type:le32,SET=1:{at:{x:le16},list:array(u8,2)},NOTE=2:{text:text(4),rest:tail(),end:u8})',
)!;

test('fields say where they lie, as deep as they go', () => {
  const views = fieldViews(readFields(SHAPE, new Uint8Array([1, 0, 0, 0, 5, 1, 7, 8])));
  assert.deepEqual(views, [
    { name: 'type', offset: 0, size: 4, type: 'le32', value: 'SET (1)' },
    {
      name: 'at',
      offset: 4,
      size: 2,
      type: 'struct',
      fields: [{ name: 'x', offset: 4, size: 2, type: 'le16', value: '261 (0x105)' }],
    },
    {
      name: 'list',
      offset: 6,
      size: 2,
      type: 'array(2)',
      fields: [
        { name: '[0]', offset: 6, size: 1, type: 'u8', value: '7' },
        { name: '[1]', offset: 7, size: 1, type: 'u8', value: '8' },
      ],
    },
  ]);
});

test('of bytes that are not all there, as much is read as there is; what lies behind a tail is not guessed', () => {
  const bytes = new Uint8Array([2, 0, 0, 0, 97, 98, 0, 0, 1, 2, 3]);
  const whole = readFields(SHAPE, bytes);
  assert.deepEqual(
    whole.map(({ name, offset, size }) => [name, offset, size]),
    [
      ['type', 0, 4],
      ['text', 4, 4],
      ['rest', 8, 2],
      ['end', 10, 1],
    ],
  );
  assert.deepEqual(
    readFields(SHAPE, bytes, 5000)
      .map(({ name, size }) => [name, size])
      .at(-1),
    ['rest', 4991],
  );
  assert.deepEqual(
    readFields(SHAPE, bytes.subarray(0, 6)).map(({ name }) => name),
    ['type'],
  );
  assert.deepEqual(readFields(SHAPE, bytes.subarray(0, 3)), []);
});

test('what a guest wrote is text, however long, and steers nothing', () => {
  const hostile = new TextEncoder().encode(`<script>alert(1)</script>\u001b]0;x\u0007${'a'.repeat(70_000)}`);
  const shape = parseShape(`{text:text(${hostile.length})}`)!;
  const [view] = fieldViews(readFields(shape, hostile));
  assert.ok(view!.value!.length <= 300 && view!.value!.startsWith('"<script>alert(1)</script>'));
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
  assert.doesNotMatch(view!.value!, /[\x00-\x1f\x7f]/);
  assert.ok(fieldsText(readFields(shape, hostile), 120).length <= 120);
});

test('an array without end is read up to a bound', () => {
  const shape = parseShape('{all:tail({a:u8,b:array(u8,100)})}')!;
  const count = (fields: readonly { fields?: readonly object[] }[]): number =>
    fields.reduce(
      (sum, field) => sum + 1 + count((field.fields ?? []) as { fields?: readonly object[] }[]),
      0,
    );
  assert.ok(count(readFields(shape, new Uint8Array(1 << 20)) as { fields?: readonly object[] }[]) <= 2100);
});

test('names are offered as conditions take them', () => {
  assert.deepEqual(fieldNames(SHAPE), ['type', 'at.x', 'list[0]', 'text', 'rest[0]', 'end']);
  assert.deepEqual(fieldNames(undefined), []);
});
