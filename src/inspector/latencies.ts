import type { Latency, Quantiles } from './protocol.js';

/** Values that are kept of each part until they are asked for. */
const MOST = 2048;

/** When parts of a request's life ended, ns. */
export interface Life {
  readonly available?: number | undefined;
  readonly taken: number;
  readonly used: number;
  readonly interrupt?: number | undefined;
}

/** How long requests took in a stretch of time. */
export class Latencies {
  readonly #waiting: number[] = [];
  readonly #device: number[] = [];
  readonly #interrupt: number[] = [];
  readonly #total: number[] = [];
  #of = 0;

  /** One that is over. */
  add({ available, taken, used, interrupt }: Life): void {
    this.#of += 1;
    if (this.#device.length >= MOST) return;
    this.#device.push(used - taken);
    if (available !== undefined) this.#waiting.push(taken - available);
    if (interrupt !== undefined) this.#interrupt.push(interrupt - used);
    if (available !== undefined && interrupt !== undefined) this.#total.push(interrupt - available);
  }

  /** What there was since the last time; `undefined` when there was none. */
  take(): Latency | undefined {
    const of = this.#of;
    if (of === 0) return undefined;
    this.#of = 0;
    const [waiting, interrupt, total] = [this.#waiting, this.#interrupt, this.#total].map(quantiles);
    return {
      of,
      device: quantiles(this.#device)!,
      ...(waiting !== undefined && { waiting }),
      ...(interrupt !== undefined && { interrupt }),
      ...(total !== undefined && { total }),
    };
  }
}

/** Of these values, which are gone then; `undefined` of none. */
export function quantiles(values: number[]): Quantiles | undefined {
  if (values.length === 0) return undefined;
  const sorted = Float64Array.from(values).sort();
  values.length = 0;
  const at = (q: number): number => sorted[Math.min(sorted.length - 1, Math.ceil(q * sorted.length) - 1)]!;
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: sorted.at(-1)! };
}
