import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Bench } from '../testing/bench.js';
import { ProbeDevice } from '../testing/probe-device.js';
import { rudeLife, rudeSession } from '../testing/rude-frontend.js';

test('whatever a front-end says, in whatever order: nothing is thrown, nothing hangs, and everything is given back', () => {
  let survived = 0;
  let activated = 0;
  fc.assert(
    fc.property(rudeSession({ maxLength: 60 }), (session) => {
      const life = rudeLife(session);
      if (life.survived) survived += 1;
      if (life.activated) activated += 1;
    }),
    { numRuns: 300 },
  );
  // The steps are no good if they end the connection at once, or never start a ring.
  assert.ok(survived > 30, `only ${survived} of 300 connections lived`);
  assert.ok(activated > 150, `only ${activated} of 300 devices were activated`);
});

test('random bytes and descriptors: nothing is thrown, and everything is given back', () => {
  const chunk = fc.tuple(fc.uint8Array({ minLength: 1, maxLength: 40 }), fc.nat(2), fc.boolean());
  fc.assert(
    fc.property(fc.array(chunk, { maxLength: 20 }), (chunks) => {
      const b = new Bench(new ProbeDevice());
      for (const [bytes, fds, plausible] of chunks) {
        // A request that exists, version 1 and a short payload.
        if (plausible)
          bytes.set([(bytes[0] ?? 0) % 46, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0].slice(0, bytes.length));
        b.frontend.channel.send(bytes, Array<number>(fds).fill(b.memoryFd));
      }
      b.os.run();
      b.close();
      assert.equal(b.os.openFds, 0);
      assert.equal(b.os.openMappings, 0);
    }),
  );
});
