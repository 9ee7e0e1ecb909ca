import { InvalidArgumentError, Option } from 'commander';
import { SPARES_MOST } from '../keeper/keeper/spares.js';
import { duration } from './duration.js';
import { UsageError } from './usage-error.js';

/** What commands are told of the processes that run a device. */
export interface KeepOptions {
  readonly keeper: boolean;
  readonly spares?: number;
  /** ms. */
  readonly stuckAfter?: number;
}

/** `--spares`. */
export function sparesOption(): Option {
  const text = 'processes that are kept ready to take the place of one that dies; 1 unless told';
  return new Option('--spares <n>', text).argParser((given) => {
    if (!/^\d+$/.test(given) || Number(given) > SPARES_MOST)
      throw new InvalidArgumentError(`write a number from 0 to ${SPARES_MOST}.`);
    return Number(given);
  });
}

/** `--stuck-after`. */
export function stuckAfterOption(): Option {
  const text = 'a process that does not come back from its device for so long is ended, and another goes on';
  return new Option('--stuck-after <time>', text).argParser(duration);
}

/** @throws UsageError when one is given that is for processes of which there are none. */
export function checkKeeper({ keeper, spares, stuckAfter }: KeepOptions): void {
  if (keeper) return;
  const name = stuckAfter !== undefined ? '--stuck-after' : spares !== undefined ? '--spares' : undefined;
  if (name !== undefined) throw new UsageError(`${name} needs a keeper: leave out --no-keeper`);
}
