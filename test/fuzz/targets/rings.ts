import fc from 'fast-check';
import type { Life } from '../../../src/virtqueue/testing/contested-memory.js';
import { packedDeviceLife, packedDriverLife } from '../../../src/virtqueue/testing/packed-lives.js';
import { splitDeviceLife, splitDriverLife } from '../../../src/virtqueue/testing/split-lives.js';
import { type Target, target } from '../target.js';

/** One number settles all that the other end does; a shorter life is the beginning of a longer one. */
const life = fc.record({
  seed: fc.noShrink(fc.integer({ min: 1, max: 2 ** 31 - 1 })),
  turns: fc.integer({ min: 1, max: 400 }),
  plausible: fc.nat(7).map((one) => one > 0),
});

function ring(name: string, live: (seed: number, turns: number, plausible: boolean) => Life): Target {
  return target(name, 'access to the ring', life, ({ seed, turns, plausible }) => {
    return live(seed, turns, plausible).accesses;
  });
}

/** Each end of both rings, with another end that changes memory before any access. */
export const RINGS: readonly Target[] = [
  ring('split-device', splitDeviceLife),
  ring('split-driver', splitDriverLife),
  ring('packed-device', packedDeviceLife),
  ring('packed-driver', packedDriverLife),
];
