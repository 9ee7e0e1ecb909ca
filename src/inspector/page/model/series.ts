import type { PlotPoint } from '../../protocol.js';

/** A curve: `undefined` where there is nothing to say. */
export type Curve = (number | undefined)[];

/** What the plots show, of one queue: seconds, and curves. */
export interface Series {
  readonly seconds: number[];
  /** Requests a second. */
  readonly rate: Curve;
  /** µs, from when a request was seen until its interrupt, or its end. */
  readonly p50: Curve;
  readonly p99: Curve;
  readonly max: Curve;
  readonly inFlight: Curve;
  readonly waiting: Curve;
  /** A request. */
  readonly kicks: Curve;
  readonly interrupts: Curve;
  /** Of all interrupts, in percent, those that the driver did not want. */
  readonly suppressed: Curve;
  /** Looks a second that found a request without a kick. */
  readonly polled: Curve;
}

/** Curves of points, in their order. */
export function seriesOf(points: readonly PlotPoint[]): Series {
  const all = points.map(({ latency }) => latency?.total ?? latency?.device);
  const each = (of: (point: PlotPoint) => number | undefined): Curve => points.map(of);
  const perRequest = (count: number, used: number): number | undefined =>
    used === 0 ? undefined : count / used;
  return {
    seconds: points.map(({ time }) => time / 1e9),
    rate: each(({ used, span }) => (used * 1e9) / span),
    p50: all.map((one) => one && one.p50 / 1e3),
    p99: all.map((one) => one && one.p99 / 1e3),
    max: all.map((one) => one && one.max / 1e3),
    inFlight: each(({ inFlight }) => inFlight),
    waiting: each(({ waiting }) => waiting),
    kicks: each(({ kicks, used }) => perRequest(kicks, used)),
    interrupts: each(({ interrupts, used }) => perRequest(interrupts, used)),
    suppressed: each(({ interrupts, suppressed }) =>
      interrupts + suppressed === 0 ? undefined : (100 * suppressed) / (interrupts + suppressed),
    ),
    polled: each(({ unkicked, span }) => (unkicked * 1e9) / span),
  };
}
