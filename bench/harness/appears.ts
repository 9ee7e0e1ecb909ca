import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { BenchError, type Started } from './bench.js';

/** ms to wait for it, and between two looks. */
const PATIENCE = 60_000;
const LOOK = 20;

/**
 * Waits until a program has made a file: the socket that it listens at, most often.
 *
 * @throws BenchError when it does not; what the program said when it ended instead.
 */
export async function appears(path: string, by?: Started): Promise<void> {
  let ended = false;
  by?.output.then(
    () => {
      ended = true;
    },
    () => {
      ended = true;
    },
  );
  for (let waited = 0; !existsSync(path); waited += LOOK) {
    if (ended) await by!.output;
    if (ended || waited > PATIENCE) throw new BenchError(`${path} did not come`);
    await sleep(LOOK);
  }
}
