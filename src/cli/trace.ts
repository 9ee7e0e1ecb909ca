import type { Monitor } from '../virtio/monitor.js';
import { type ChainTrace, TracedQueue } from '../virtio/traced-queue.js';
import type { Logger } from './log.js';

/** A line of the log for each chain. */
export function traceTo(log: Logger): Monitor {
  const lines = new Map<string, Logger>();
  const report = ({ queue, request, response, time, ...counts }: ChainTrace): void => {
    const us = Math.round(time / 1e3);
    const { readable, writable, written } = counts;
    const asked = `in ${readable} B${request && `: ${request}`}`;
    const answered = `out ${written} of ${writable} B${response && `: ${response}`}`;
    let line = lines.get(queue);
    if (line === undefined) {
      line = log.child({ queue });
      lines.set(queue, line);
    }
    line.trace({ ...counts, request, response, us }, `${queue}: ${asked} | ${answered} | ${us} us`);
  };
  return { queue: (queue, spec) => new TracedQueue(queue, spec, () => performance.now() * 1e6, report) };
}
