import {
  loopback as connect,
  defineDevice,
  MiscDriver,
  structQueue,
  TestDriver,
  virtioMisc,
} from 'virtio-misc';
import { Request, Response } from '../src/devices/test/wire.js';
import { alternate } from './harness/alternate.js';
import { type Bench, type BenchContext, BenchError, type Table } from './harness/bench.js';
import { figure } from './harness/figure.js';

/** ms: before the first round, and measured. */
const FIRST = 1000;
const SPAN = 400;
const OUTSTANDING = [1, 32, 128] as const;
/** Timers, and requests for them under way. */
const TIMERS = [10_000, 100_000, 1_000_000] as const;
const UNDER_WAY = 128;

/** virtio-test's answers, and no line printed. */
const echo = defineDevice({
  id: 45,
  name: 'echo',
  features: { CAN_PRINT: 0 },
  queues: [
    structQueue({
      name: 'requestq',
      request: Request,
      response: Response,
      handle: ({ arg1, arg2, arg3 }) => ({ ret: arg1 + 100, arg1: arg2 + 100, arg2: arg3 + 100 }),
    }),
  ],
});

/** Drivers and their devices in one thread: what a driver's promises and a device's structs, or timers, cost together. */
export const loopback: Bench = async (context) => [await requests(context), await timers(context)];

async function requests(context: BenchContext): Promise<Table> {
  const driver = await TestDriver.open(connect(echo()));
  const load = async (outstanding: number, span: number): Promise<number> => {
    context.progress(`loopback: ${outstanding} outstanding`);
    const until = performance.now() + span;
    let done = 0;
    const one = async (): Promise<void> => {
      for (let left = 0; ; left--) {
        if (left === 0 && performance.now() >= until) return;
        if (left === 0) left = 64;
        const { ret } = await driver.request({
          type: 1,
          arg1: done,
          arg2: 3,
          arg3: 4,
          arg4: 'hello back end!',
        });
        if (ret < 100) throw new BenchError(`loopback: an answer was ${ret}`);
        done += 1;
      }
    };
    const start = performance.now();
    await Promise.all(Array.from({ length: outstanding }, one));
    return (done * 1000) / (performance.now() - start);
  };
  await load(32, context.time(FIRST));
  const rates = await alternate(
    context.rounds,
    OUTSTANDING.map((outstanding) => () => load(outstanding, context.time(SPAN))),
  );
  await driver.close();
  return {
    title: 'loopback: TestDriver and its device in one thread',
    columns: ['outstanding', 'requests/s'],
    rows: OUTSTANDING.map((outstanding, i) => [outstanding, figure(rates[i]!)]),
    notes: [
      'Requests of 48 bytes with a text, answers of 12. There is no yardstick: no C has a driver like it.',
    ],
  };
}

/** Sets so many timers, all due within a second some time later, and waits for the last. */
async function timers(context: BenchContext): Promise<Table> {
  const rows = [];
  for (const count of context.quick ? [1000] : TIMERS) {
    context.progress(`loopback: ${count} timers`);
    const driver = await MiscDriver.open(connect(virtioMisc({ maxTimers: count })(), { print: false }));
    const before = process.memoryUsage().rss;
    const samples = { set: [] as number[], late: [] as number[], bytes: [] as number[] };
    for (let round = 0; round < context.rounds; round++) {
      const begun = performance.now();
      const due = begun + context.time(1000 + count / 100);
      let left = count;
      let expired = 0;
      let last = 0;
      let told = (): void => {};
      const over = new Promise<void>((resolve) => {
        told = resolve;
      });
      const one = (): void => {
        expired += 1;
        last = performance.now();
        if (expired === count) told();
      };
      const set = async (): Promise<void> => {
        while (left-- > 0) {
          const delay = due + Math.random() * context.time(1000) - performance.now();
          await driver.startTimer({ delay: Math.max(0, Math.round(delay * 1e6)) }, one, undefined);
        }
      };
      await Promise.all(Array.from({ length: UNDER_WAY }, set));
      samples.set.push((count * 1000) / (performance.now() - begun));
      samples.bytes.push((process.memoryUsage().rss - before) / count);
      await over;
      samples.late.push(last - due - context.time(1000));
    }
    await driver.close();
    rows.push([count, figure(samples.set), figure(samples.late), figure(samples.bytes)]);
  }
  return {
    title: 'loopback: MiscDriver and its device in one thread, timers that are all due within one second',
    columns: ['timers', 'set /s', 'the last told, ms after that second', 'bytes each'],
    rows,
    notes: ['A promise, an object and a callback for each timer. The bytes are what the process grew by.'],
  };
}
