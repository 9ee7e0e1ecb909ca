import { LineLimiter } from './line-limiter.js';
import { printable } from './printable.js';

/**
 * A limiter on this process's own time, whose lines may be shown anywhere. It does not keep the process alive: call `flush` at the
 * end.
 */
export function processLimiter<About>(write: (line: string, about: About) => void): LineLimiter<About> {
  return new LineLimiter({
    write: (line, about) => write(printable(line), about),
    now: () => performance.now(),
    after(ms, callback) {
      const timer = setTimeout(callback, ms);
      timer.unref?.();
      return () => clearTimeout(timer);
    },
  });
}
