import { Session } from 'node:inspector/promises';

/**
 * How often the functions of a file were called while `run` ran: work in numbers that are the same on a slow machine.
 *
 * @param file - how the file's address ends, as `/memory/guest-memory.js`
 * @returns calls by the functions' names, as `#find`
 */
export async function callsDuring(file: string, run: () => Promise<void>): Promise<Map<string, number>> {
  const session = new Session();
  session.connect();
  try {
    await session.post('Profiler.enable');
    await session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: false });
    await run();
    const { result } = await session.post('Profiler.takePreciseCoverage');
    const calls = new Map<string, number>();
    for (const { url, functions } of result) {
      if (!url.endsWith(file)) continue;
      for (const { functionName, ranges } of functions) {
        calls.set(functionName, (calls.get(functionName) ?? 0) + ranges[0]!.count);
      }
    }
    return calls;
  } finally {
    session.disconnect();
  }
}

/** How many items arrays moved or copied to give up their first ones while `run` ran. */
export async function movedDuring(run: () => Promise<void>): Promise<number> {
  const { shift, splice, slice } = Array.prototype;
  let moved = 0;
  const counting = {
    shift(this: unknown[]): unknown {
      moved += this.length;
      return shift.call(this);
    },
    splice(this: unknown[], ...rest: [number, number, ...unknown[]]): unknown[] {
      moved += this.length;
      return splice.apply(this, rest);
    },
    slice(this: unknown[], ...rest: [number?, number?]): unknown[] {
      const copy = slice.apply(this, rest);
      moved += copy.length;
      return copy;
    },
  };
  Object.assign(Array.prototype, counting);
  try {
    await run();
    return moved;
  } finally {
    Object.assign(Array.prototype, { shift, splice, slice });
  }
}
