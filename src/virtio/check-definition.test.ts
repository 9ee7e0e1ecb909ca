import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type DeviceDefinition, defineDevice, le32, struct, structQueue, tail } from '../index.js';

const Numbers = struct({ a: le32, b: le32 });

/** What defineDevice says of a definition that TypeScript would not have let through. */
function refusal(given: unknown): string {
  try {
    defineDevice(given as DeviceDefinition<Record<never, never>>);
  } catch (error) {
    assert.ok(error instanceof TypeError || error instanceof RangeError, String(error));
    return error.message;
  }
  return 'taken';
}

const fine = { id: 60, name: 'x', queues: [] };

for (const [what, given, message] of [
  ['nothing', undefined, /the definition of a device is undefined: take an object/],
  [
    'an unknown key',
    { ...fine, featurs: {} },
    /device x has an unknown 'featurs': did you mean 'features'\?/,
  ],
  ['a key that is like no other', { ...fine, colour: 1 }, /device x has an unknown 'colour'$/],
  ['no id', { name: 'x', queues: [] }, /device x has no id/],
  ['an id of 0', { ...fine, id: 0 }, /device x has the number 0 for its id: .* from 1 to 65535/],
  ['an id of 17 bits', { ...fine, id: 65_536 }, /the number 65536 for its id/],
  ['an id that is a text', { ...fine, id: '60' }, /"60" for its id/],
  ['no name', { id: 60, queues: [] }, /the device has undefined for its name/],
  ['no queues', { id: 60, name: 'x' }, /device x has no queues: take a list/],
  ['queues by name', { ...fine, queues: { q: {} } }, /an object for its queues: take a list/],
  ['a hook that is none', { ...fine, activate: true }, /the boolean true for activate: take a function/],
  ['two features of one bit', { ...fine, features: { A: 1, B: 1 } }, /features A and B have the same bit 1/],
  ['a config without struct', { ...fine, config: { fields: {} } }, /config has an unknown 'fields'/],
  [
    'a config of fields',
    { ...fine, config: { struct: { a: le32 } } },
    /an object for its struct: take what struct/,
  ],
  [
    'a config with a tail',
    { ...fine, config: { struct: struct({ a: tail(8) }) } },
    /a configuration space is of one length/,
  ],
  [
    'an initial value of no field',
    { ...fine, config: { struct: struct({ pages: le32 }), initial: { page: 1 } } },
    /no field page: did you mean 'pages'\?/,
  ],
  [
    'a queue with another key',
    { ...fine, queues: [{ name: 'q', handler() {} }] },
    /device x: queues\[0\] \(q\) has an unknown 'handler': did you mean 'handle'\?/,
  ],
  [
    'a queue without a name',
    { ...fine, queues: [{ handle() {} }] },
    /queues\[0\] has undefined for its name/,
  ],
  [
    'structs without structQueue',
    { ...fine, queues: [{ name: 'q', request: Numbers, handle() {} }] },
    /queues\[0\] \(q\) has a request, which only structQueue takes/,
  ],
  [
    'handle beside posted',
    { ...fine, queues: [{ name: 'q', handle() {}, posted() {} }] },
    /\(q\) has handle and posted/,
  ],
  ['a name twice', { ...fine, queues: [{ name: 'q' }, { name: 'q' }] }, /two queues are called q/],
  ['a name of arrays', { ...fine, queues: [{ name: 'length' }] }, /can't be called length/],
  [
    'a group with another key',
    { ...fine, queues: [{ upTo: 2, queue: [] }] },
    /unknown 'queue': did you mean 'queues'/,
  ],
  ['checkAnswers of a text', { ...fine, checkAnswers: 'no' }, /"no" for checkAnswers: take true or false/],
] as const) {
  test(`a definition is refused with ${what}`, () => assert.match(refusal(given), message));
}

test('what a function defines is refused when the device is made', () => {
  const make = defineDevice(() => ({ ...fine, id: 0 }));
  assert.throws(make, /the number 0 for its id/);
});

test('structQueue refuses what can be no queue', () => {
  const queue = (given: object): unknown => structQueue(given as Parameters<typeof structQueue>[0]);
  assert.throws(
    () => queue({ name: 'q', handle() {} }),
    /queue q has undefined for its request: take what struct/,
  );
  assert.throws(() => queue({ name: 'q', request: { a: le32 }, handle() {} }), /an object for its request/);
  assert.throws(() => queue({ name: 'q', request: Numbers, response: {}, handle() {} }), /for its response/);
  assert.throws(() => queue({ name: 'q', request: Numbers }), /undefined for its handle: take a function/);
  assert.throws(
    () => queue({ name: 'q', request: Numbers, reponse: Numbers, handle() {} }),
    /queue q has an unknown 'reponse': did you mean 'response'\?/,
  );
});

test('the stack begins where the device was defined', () => {
  const here = fileURLToPath(import.meta.url);
  for (const wrong of [
    () => defineDevice({ ...fine, id: 0 }),
    defineDevice(() => ({ ...fine, id: 0 })),
    () => structQueue({ name: 'q', request: Numbers } as unknown as Parameters<typeof structQueue>[0]),
  ]) {
    assert.throws(wrong, (error: Error) => error.stack!.split('\n')[1]!.includes(here));
  }
});
