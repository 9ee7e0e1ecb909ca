import fc from 'fast-check';
import { attack, garbage, step } from '../../../src/transports/vfio-user/testing/rude-client.js';
import { rudeLife, rudeSession } from '../../../src/transports/vhost-user/testing/rude-frontend.js';
import { type Target, target } from '../target.js';

const MESSAGE = 'message, or other act of a peer';

const message = step.filter(({ kind }) => kind === 'message' || kind === 'time');

/** Whole connections, with an operating system that counts what is left open. */
export const SESSIONS: readonly Target[] = [
  target('vhost-user-session', MESSAGE, rudeSession({ maxLength: 200, size: 'max' }), (session) => {
    rudeLife(session);
    return session[0].length;
  }),
  target(
    'vfio-user-session',
    MESSAGE,
    // Once the stream is out of step nothing is answered, so only what needs no answer follows noise.
    fc
      .tuple(
        fc.array(step, { maxLength: 150, size: 'max' }),
        fc.array(fc.oneof(garbage, message), { maxLength: 3 }),
      )
      .map(([steps, noise]) => [...steps, ...noise]),
    (steps) => {
      attack(steps);
      return steps.length;
    },
  ),
];
