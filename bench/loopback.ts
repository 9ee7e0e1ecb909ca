import { loopback as connect, defineDevice, structQueue, TestDriver } from 'virtio-misc';
import { Request, Response } from '../src/devices/test/wire.js';
import { alternate } from './harness/alternate.js';
import { type Bench, BenchError } from './harness/bench.js';
import { figure } from './harness/figure.js';

/** ms: before the first round, and measured. */
const FIRST = 1000;
const SPAN = 400;
const OUTSTANDING = [1, 32, 128] as const;

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

/** `TestDriver` and its device in one thread: what a driver's promises and a device's structs cost together. */
export const loopback: Bench = async (context) => {
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
  return [
    {
      title: 'loopback: TestDriver and its device in one thread',
      columns: ['outstanding', 'requests/s'],
      rows: OUTSTANDING.map((outstanding, i) => [outstanding, figure(rates[i]!)]),
      notes: [
        'Requests of 48 bytes with a text, answers of 12. There is no yardstick: no C has a driver like it.',
      ],
    },
  ];
};
