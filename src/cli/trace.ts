import type { Allowance, LineLimiter } from '../lines/line-limiter.js';
import type { Monitor } from '../virtio/monitor.js';
import { type ChainTrace, TracedQueue } from '../virtio/traced-queue.js';
import type { LineContext, Logger } from './log.js';

/** Chains of one queue; a guest may pass a hundred times as many. */
const TRACED: Allowance = { first: 1000, each: 1000 };

/**
 * A line of the log for each chain, or how many there were when there are too many to read.
 *
 * @param about - what the lines are about, beside the queue.
 */
export function traceTo(log: Logger, limiter: LineLimiter<LineContext>, about: LineContext): Monitor {
  return {
    queue(queue, spec) {
      const context = { ...about, queue: queue.name };
      const line = log.child(context);
      const report = ({ queue, request, response, time, ...counts }: ChainTrace): void => {
        const us = Math.round(time / 1e3);
        const { readable, writable, written } = counts;
        const asked = `in ${readable} B${request && `: ${request}`}`;
        const answered = `out ${written} of ${writable} B${response && `: ${response}`}`;
        line.trace({ ...counts, request, response, us }, `${queue}: ${asked} | ${answered} | ${us} us`);
      };
      const kind = `chains of ${queue.name}`;
      const counted = (count: number): string => `${queue.name}: ${count} more chains, not shown`;
      const wanted = (): boolean => limiter.allows(kind, context, TRACED, counted);
      return new TracedQueue(queue, spec, () => performance.now() * 1e6, report, wanted);
    },
  };
}
