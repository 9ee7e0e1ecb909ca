import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseShape } from '../record/shape.js';
import { parseCondition, type Verdict } from './condition.js';
import { readFields } from './read-fields.js';

const SHAPE = parseShape(
  'union(type:le32,SET_TIMER=1:{delay_ms:le32,at:{x:le16,y:le16}},NOTE=77:{text:text(8),data:tail()})',
)!;

function request(type: number, ...rest: number[]): Uint8Array {
  return new Uint8Array([type, 0, 0, 0, ...rest]);
}

const SET = request(1, 0xf4, 1, 0, 0, 3, 0, 0xff, 0xff);
const NOTE = request(77, ...new TextEncoder().encode('hello\0\0\0'), 0x80, 9);

function ask(when: string, bytes: Uint8Array): Verdict {
  const fields = readFields(SHAPE, bytes);
  return parseCondition(when)({ fields, readable: bytes.length, writable: 4, chain: 12, head: 3 });
}

for (const [when, of, verdict] of [
  ['type == 77', NOTE, true],
  ['type == 77', SET, false],
  ['type == 0x4d', NOTE, true],
  ['type == SET_TIMER', SET, true],
  ['type != SET_TIMER', NOTE, true],
  ['delay_ms > 100 && delay_ms <= 500', SET, true],
  ['at.x == 3', SET, true],
  ['x == 3', SET, true],
  ['y < 0 || y >= 0xffff', SET, true],
  ['text == "hello"', NOTE, true],
  ["text >= 'hell' && text < 'help'", NOTE, true],
  ['data[0] & 0x80', NOTE, true],
  ['data[1] & 0x80', NOTE, false],
  ['data[7] == 0', NOTE, 'misfit'],
  ['$readable == 14 && $writable == 4 && $chain == 12 && $head == 3', NOTE, true],
  ['delay_ms == 500', NOTE, 'misfit'],
  ['delay_ms == 500 || type == 77', NOTE, true],
  ['delay_ms == 500 && type == 1', NOTE, false],
  ['text == 5', NOTE, 'misfit'],
  ['(type == 1 || type == 77) && (($readable > 13))', NOTE, true],
] as const) {
  test(`${when}: ${verdict}`, () => assert.equal(ask(when, of), verdict));
}

for (const [when, message] of [
  ['', /ends where the name of a field should be/],
  ['type', /ends where one of ==/],
  ['type =', /can't be read/],
  ['type == ', /ends where a number/],
  ['77 == type', /name of a field first, not '77'/],
  ['type == 77 type', /'type' where && or \|\|/],
  ['(type == 77', /a \) is missing/],
  ['$redable == 1', /no \$redable.*\$readable/],
  ['type & "x"', /a number behind &/],
  ['a == <script>', /not '<'/],
  ['('.repeat(200), /too many brackets/],
  ['x'.repeat(501), /at most 500 characters, not 501/],
] as const) {
  test(`${when.slice(0, 20)} is refused in words`, () => {
    assert.throws(
      () => parseCondition(when),
      (error: Error) => error instanceof SyntaxError && message.test(error.message),
    );
  });
}

test('any text is a condition or a SyntaxError, and any bytes can be asked', () => {
  const piece = fc.constantFrom(
    'type',
    '==',
    '77',
    '&&',
    '||',
    '(',
    ')',
    '"',
    '\\',
    "'",
    '&',
    '[0]',
    '.',
    '$',
    '-',
    '0x',
    ' ',
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(piece).map((all) => all.join(' ')),
      ),
      fc.uint8Array(),
      (when, bytes) => {
        try {
          ask(when, bytes);
        } catch (error) {
          assert.ok(error instanceof SyntaxError, String(error));
        }
      },
    ),
  );
});
