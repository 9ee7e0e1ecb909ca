/** One number as it came out of several rounds. */
export interface Figure {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** @throws RangeError when there is no sample. */
export function figure(samples: readonly number[]): Figure {
  if (samples.length === 0) throw new RangeError('a figure needs a sample');
  const sorted = samples.toSorted((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return {
    median: (sorted[Math.floor(middle)]! + sorted[Math.ceil(middle)]!) / 2,
    min: sorted[0]!,
    max: sorted.at(-1)!,
  };
}

/**
 * How many times as much as the yardstick, round by round: what slows a round down slows both, so it matters less than in a
 * ratio of medians.
 */
export function ratio(samples: readonly number[], yardstick: readonly number[]): Figure {
  return figure(samples.map((sample, round) => sample / yardstick[round]!));
}
