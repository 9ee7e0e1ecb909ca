/** The stretch of time that is shown, ns. */
export interface TimeWindow {
  readonly from: number;
  readonly span: number;
}

/** Between two kernels' clock ticks there is nothing to see, and behind a day neither. */
const SHORTEST = 500;
const LONGEST = 864e11;

/** Closer to (`factor` below 1) or further from what is at `at`, which stays where it is. */
export function zoomed({ from, span }: TimeWindow, at: number, factor: number): TimeWindow {
  const next = Math.min(LONGEST, Math.max(SHORTEST, span * factor));
  return { from: at - ((at - from) * next) / span, span: next };
}

/** The window around a stretch of time, with some room beside it. */
export function around(from: number, to: number): TimeWindow {
  const span = Math.max(SHORTEST, (to - from) * 1.5);
  return { from: (from + to) / 2 - span / 2, span };
}

/** Round moments in the window, `count` or so. */
export function ticks({ from, span }: TimeWindow, count: number): { step: number; at: number[] } {
  const rough = span / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10);
  const at: number[] = [];
  for (let i = Math.ceil(from / step); i * step <= from + span; i++) at.push(i * step);
  return { step, at };
}
