import { test } from 'node:test';
import fc from 'fast-check';
import { attack, garbage, step } from '../testing/rude-client.js';

test('whatever a client sends, nothing is thrown and nothing stays behind', () => {
  fc.assert(fc.property(fc.array(step, { maxLength: 25 }), attack), { numRuns: 600 });
});

test('nor does random noise leave anything behind', () => {
  // Once the stream is out of step nothing is answered, so only what needs no answer follows.
  const message = step.filter(({ kind }) => kind === 'message' || kind === 'time');
  fc.assert(
    fc.property(fc.boolean(), fc.array(fc.oneof(garbage, message), { maxLength: 10 }), (shared, steps) => {
      attack([{ kind: 'driver', shared }, { kind: 'request' }, ...steps]);
    }),
    { numRuns: 300 },
  );
});
