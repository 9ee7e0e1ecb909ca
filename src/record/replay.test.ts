import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { virtioMisc } from '../devices/misc/device.js';
import { virtioTest } from '../devices/test/device.js';
import { Request } from '../devices/test/wire.js';
import type { InspectEvent } from '../observe/event.js';
import { defineDevice } from '../virtio/define-device.js';
import type { MakeDevice } from '../virtio/make-device.js';
import { le32, le64, struct } from '../virtio/struct.js';
import { structQueue } from '../virtio/struct-queue.js';
import type { DeviceBench } from '../virtio/testing/device-bench.js';
import { connectionsOf, ReplayError } from './connection-events.js';
import type { Difference } from './difference.js';
import { Replay } from './replay.js';
import { recordBench } from './testing/record-bench.js';
import { timerWork } from './testing/timer-work.js';

/** No patience: what has not come by the next turns does not come. */
const ports = { turn: () => new Promise<void>(setImmediate), now: () => (clock += 200) };
let clock = 0;

/** What a recording of one device is, played to another. */
async function replayed(
  recorded: MakeDevice,
  work: (bench: DeviceBench) => Promise<void> | void,
  now: MakeDevice = recorded,
): Promise<{ count: number; difference: Difference | undefined }> {
  const [connection] = connectionsOf(await recordBench(recorded, work));
  const replay = new Replay(connection!, now(), ports);
  const difference = await replay.run();
  return { count: replay.count, difference };
}

const N = struct({ n: le32, m: le32 });
const adder = (add: (n: number) => number, config = 5): MakeDevice =>
  defineDevice({
    id: 60,
    name: 'adder',
    features: { A: 0, B: 1 },
    config: { struct: struct({ step: le32 }), initial: { step: config }, writable: ['step'] },
    queues: [
      structQueue({ name: 'q', size: 8, request: N, response: N, handle: ({ n, m }) => ({ n: add(n), m }) }),
    ],
  });
const ask = (bench: DeviceBench, n: number): unknown => bench.ask('q', N.encode({ n, m: 9 }), 8);

test('the same device answers as recorded; what happened in between is played too', async () => {
  const work = async (bench: DeviceBench): Promise<void> => {
    for (let n = 0; n < 30; n++) ask(bench, n);
    bench.readConfig();
    bench.writeConfig(0, Uint8Array.of(7));
    bench.reset();
    bench.start();
    ask(bench, 5);
  };
  assert.deepEqual(
    await replayed(
      adder((n) => n + 1),
      work,
    ),
    { count: 31, difference: undefined },
  );
});

test('the first answer that is another one: which, when, the request, and the field', async () => {
  const work = (bench: DeviceBench): void => {
    for (let n = 0; n < 30; n++) {
      bench.advance(1000);
      ask(bench, n);
    }
  };
  const { count, difference } = await replayed(
    adder((n) => n + 1),
    work,
    adder((n) => (n === 17 ? 0 : n + 1)),
  );
  assert.equal(count, 18);
  assert.ok(difference?.event.type === 'used' && difference.event.chain === 18);
  assert.equal(difference.event.time, 18_000);
  assert.equal(difference.text, 'q: chain 18 is answered otherwise');
  assert.deepEqual(difference.detail, [
    'request   8 B: n=17 m=9',
    'recorded  8 B: n=18 m=9',
    'replayed  8 B: n=0 m=9',
    'differs   n: 18 was recorded, 0 came',
  ]);
});

test('a length, bytes without a struct, an answer that does not come, a failure', async () => {
  const raw = (answer: number[] | 'never' | 'throws'): MakeDevice =>
    defineDevice({
      id: 60,
      name: 'raw',
      queues: [
        {
          name: 'q',
          size: 8,
          posted(_, queue) {
            for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
              if (answer === 'throws') throw new Error('it breaks');
              if (answer === 'never') continue;
              chain.write(Uint8Array.from(answer));
              queue.push(chain);
            }
          },
        },
      ],
    });
  const work = (bench: DeviceBench): void => void bench.ask('q', Uint8Array.of(1), 8);
  const differs = async (answer: number[] | 'never' | 'throws'): Promise<Difference> =>
    (await replayed(raw([1, 2, 3]), work, raw(answer))).difference!;
  assert.deepEqual((await differs([1, 2])).detail.at(-1), 'differs   length: 3 bytes were recorded, 2 came');
  assert.deepEqual(
    (await differs([1, 9, 3])).detail.at(-1),
    'differs   byte 1: 0x02 was recorded, 0x09 came',
  );
  assert.equal((await differs('never')).text, 'q: chain 1 is not answered');
  assert.match((await differs('throws')).text, /the device fails, and did not in the recording: it breaks/);
  const { difference } = await replayed(raw('throws'), work, raw([1]));
  assert.match(difference!.text, /the device failed in the recording \(it breaks\), and does not now/);
  assert.equal((await replayed(raw('throws'), work)).difference, undefined);
});

test('the configuration space and features: what reads otherwise, and what is not offered any more', async () => {
  const work = (bench: DeviceBench): void => void bench.readConfig();
  const { difference } = await replayed(
    adder((n) => n),
    work,
    adder((n) => n, 6),
  );
  assert.equal(difference?.text, 'the configuration space reads otherwise at 0');
  assert.ok(difference.detail.includes('differs   byte 0: 0x05 was recorded, 0x06 came'));
  const less = defineDevice({ id: 60, name: 'less', features: { A: 0 }, queues: [{ name: 'q' }] });
  const lost = await replayed(
    adder((n) => n),
    () => {},
    less,
  );
  assert.equal(lost.difference?.text, 'the driver accepts feature 1, which is not offered any more');
});

test('timers: alarms ring when they rang, notifications come as recorded; a timer that is wrong by a unit does not', async () => {
  const timer = (id: number, ms: number): Uint8Array =>
    struct({ type: le32, delay: le32, id: le32 }).encode({ type: 1, delay: ms, id });
  const work = (bench: DeviceBench): void => {
    bench.post('notifyq', 16, 4);
    for (const [id, ms] of [
      [1, 500],
      [2, 250],
      [3, 1000],
    ] as const)
      bench.ask('controlq', timer(id, ms), 4);
    for (let i = 0; i < 15; i++) bench.advance(100e6 + 12_345);
    const tick = struct({ type: le32, id: le32, delay: le64, interval: le64 });
    bench.ask('controlq', tick.encode({ type: 3, id: 9, delay: 1e6, interval: 1e6 }), 4);
    for (let i = 0; i < 3; i++) bench.advance(1_000_001);
  };
  const { count, difference } = await replayed(virtioMisc(), work);
  assert.deepEqual([count, difference], [8, undefined]);
  const other = await replayed(virtioMisc(), work, virtioMisc({ maxTimers: 2 }));
  assert.equal(other.difference?.text, 'controlq: chain 3 is answered otherwise');
});

test('a handler that waits, and one that finishes in another order', async () => {
  const later = (turns: (n: number) => number): MakeDevice =>
    defineDevice({
      id: 60,
      name: 'later',
      queues: [
        structQueue({
          name: 'q',
          size: 8,
          request: N,
          response: N,
          async handle({ n, m }) {
            for (let i = 0; i < turns(n); i++) await new Promise(setImmediate);
            return { n: n + 1, m };
          },
        }),
      ],
    });
  const work = async (bench: DeviceBench): Promise<void> => {
    await Promise.all([1, 2, 3, 4].map((n) => bench.request('q', N.encode({ n, m: 0 }), 8)));
  };
  assert.deepEqual(
    await replayed(
      later((n) => n),
      work,
      later((n) => 5 - n),
    ),
    { count: 4, difference: undefined },
  );
});

test('another device, one with a queue less, and a recording that has not all bytes are refused', async () => {
  const events = await recordBench(
    adder((n) => n),
    (bench) => void ask(bench, 5),
  );
  const [connection] = connectionsOf(events);
  assert.throws(
    () => new Replay(connection!, virtioTest()(), ports),
    (error) =>
      error instanceof ReplayError &&
      /recording is of adder \(id 60\), and this is virtio-test \(id 45\)/.test(error.message),
  );
  const none = defineDevice({ id: 60, name: 'none', queues: [] });
  assert.throws(() => new Replay(connection!, none(), ports), /has 1 queues, and this one 0/);
  const short = events.map((event) =>
    event.type === 'taken' ? { ...event, bytes: event.bytes.subarray(0, 3) } : event,
  );
  await assert.rejects(
    new Replay(connectionsOf(short)[0]!, adder((n) => n)(), ports).run(),
    /of chain 1 of q 3 of 8 bytes were recorded: record with a larger --record-bytes/,
  );
  const at = events.findIndex(({ type }) => type === 'used');
  const lost: InspectEvent = { type: 'dropped', time: events[at]!.time, connection: 1, count: 3 };
  const holes = events.toSpliced(at, 0, lost);
  await assert.rejects(
    new Replay(connectionsOf(holes)[0]!, adder((n) => n)(), ports).run(),
    /3 events are missing/,
  );
  assert.throws(() => connectionsOf([]), /no front-end connected/);
});

test('letters of virtio-test come back as they were', async () => {
  const work = (bench: DeviceBench): void => {
    for (const type of [1, 2, 77])
      bench.ask('print', Request.encode({ type, arg1: 1, arg2: 2, arg3: 3, arg4: 'hello' }), 12);
  };
  assert.deepEqual(await replayed(virtioTest(), work), { count: 3, difference: undefined });
});

test('whatever a driver does with timers, the same device answers the same', async () => {
  await fc.assert(
    fc.asyncProperty(timerWork, async (work) => {
      assert.equal((await replayed(virtioMisc(), work)).difference, undefined);
    }),
    { numRuns: 60 },
  );
});
