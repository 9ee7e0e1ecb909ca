/** `: did you mean 'handle'?` for the name that is nearest to a wrong one; nothing when none is near. */
export function didYouMean(wrong: string, names: Iterable<string>): string {
  const near = nearest(wrong, names);
  return near === undefined ? '' : `: did you mean '${near}'?`;
}

/** The name that a wrong one was probably meant to be. */
function nearest(wrong: string, names: Iterable<string>): string | undefined {
  let best: string | undefined;
  let least = Number.POSITIVE_INFINITY;
  for (const name of names) {
    const steps = distance(wrong.toLowerCase(), name.toLowerCase());
    if (steps < least && steps <= Math.max(1, Math.floor(name.length / 3))) {
      least = steps;
      best = name;
    }
  }
  return best;
}

/** Letters to put in, take out, change, or swap with the next, to come from one word to the other. */
function distance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > LONGEST) return LONGEST;
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let steps = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        steps = Math.min(steps, before[j - 2]! + 1);
      next.push(steps);
    }
    before = row;
    row = next;
  }
  return row[b.length]!;
}

/** Words that differ by more have nothing to do with each other. */
const LONGEST = 8;
