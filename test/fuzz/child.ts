/** The process of one target: `main.ts` starts it, reads its reports from descriptor 3, and sees when it dies or hangs. */
import { openSync, readdirSync, writeSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import fc from 'fast-check';
import type { Order, Report, Usage } from './report.js';
import type { Target } from './target.js';

const order = JSON.parse(process.argv[2]!) as Order;
const { TARGETS } = (await import(pathToFileURL(order.module).href)) as { TARGETS: readonly Target[] };
const { property, done } = TARGETS.find(({ name }) => name === order.target)!;
/** Ctrl-C is `main.ts`'s affair. */
process.on('SIGINT', () => {});

const REPORT_EVERY = 100;
const LOOK_EVERY = 5000;
/** Runs before the first look at what is in use. */
const WARM = 30;
/** What may come and go: caches, and descriptors that are closed a moment later. */
const SLACK = { bytes: 24 << 20, resident: 400 << 20, descriptors: 8 };

const start = performance.now();
const place = openSync(order.place, 'r+');
const number = new Float64Array(1);
let runs = 0;
/** The first run is told of before it begins: who watches waits for that. */
let reported = Number.NEGATIVE_INFINITY;
let looked = 0;
let first: Usage | undefined;

function say(report: Partial<Report>): void {
  writeSync(3, `${JSON.stringify({ steps: done(), runs, ...report })}\n`);
}

function look(): Usage {
  globalThis.gc?.();
  globalThis.gc?.();
  const { heapUsed, arrayBuffers, rss } = process.memoryUsage();
  const descriptors = readdirSync('/proc/self/fd').length;
  return { bytes: heapUsed + arrayBuffers, resident: rss, descriptors };
}

/** What has grown since the first look. */
function growth(now: Usage): string | undefined {
  if (first === undefined) return undefined;
  for (const kind of ['bytes', 'resident', 'descriptors'] as const) {
    if (now[kind] > first[kind] + SLACK[kind])
      return `${kind}: ${first[kind]} at first, ${now[kind]} after ${runs} runs`;
  }
  return undefined;
}

/** Nothing is due between most runs. */
function between(): void {
  number[0] = runs;
  writeSync(place, number, 0, 8, 0);
  runs += 1;
  const now = performance.now();
  // Before that nothing is compiled, and caches are empty. It is a number of runs, not a time: a quick target may be through before.
  const warm = first === undefined && runs >= WARM;
  if (!warm && now - reported < REPORT_EVERY) return;
  reported = now;
  const due = warm || (first !== undefined && now - looked >= LOOK_EVERY);
  if (!due) {
    say({});
    return;
  }
  const memory = look();
  say({ memory });
  first ??= memory;
  looked = now;
}

const end = { ended: () => performance.now() - start >= order.time || done() >= order.steps };

/** The property, with a look at the clock before each run; when time is up its runs are skipped. */
const watched = new Proxy(property, {
  get(target, key) {
    const value: unknown = Reflect.get(target, key);
    if (key !== 'run' || typeof value !== 'function')
      return typeof value === 'function' ? value.bind(target) : value;
    return (...args: unknown[]) => {
      if (end.ended()) return new fc.PreconditionFailure(true);
      between();
      return value.apply(target, args) as unknown;
    };
  },
});

const again = order.path === undefined ? { numRuns: 2 ** 31 - 1 } : { path: order.path, numRuns: 1 };
const outcome = await fc.check(watched as fc.IRawProperty<unknown>, { seed: order.seed, ...again });
if (outcome.failed && !outcome.interrupted) {
  const { counterexample, counterexamplePath, errorInstance } = outcome;
  const error = errorInstance as Error | undefined;
  say({
    end: {
      what: error?.stack ?? String(errorInstance),
      path: counterexamplePath ?? '',
      input: fc.stringify((counterexample as unknown as unknown[])[0]),
    },
  });
} else {
  // What is closed by another thread has its time.
  let memory = look();
  for (let i = 0; i < 50 && growth(memory) !== undefined; i++) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    memory = look();
  }
  const what = growth(memory);
  say({ memory, end: what === undefined ? 'done' : { what: `it grows: ${what}`, path: '0' } });
}
process.exit(0);
