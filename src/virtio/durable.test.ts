import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MappedView } from '../memory/mapped-view.js';
import { WatchedView } from '../virtqueue/testing/watched-view.js';
import { defineDevice } from './define-device.js';
import type { DurableMemory } from './durable.js';
import { type ClockState, keptClock } from './kept-clock.js';
import { le32, struct } from './struct.js';
import { structQueue } from './struct-queue.js';
import { DeviceBench } from './testing/device-bench.js';

const Request = struct({ add: le32 });
const Answer = struct({ sum: le32 });

/** Sums up what it is sent, in durable memory. */
function summing(name = 'sum', size = 4, made: DurableMemory[] = []) {
  return defineDevice(() => {
    let sum: DurableMemory;
    return {
      id: 60,
      name: 'sum',
      queues: [
        structQueue({
          name: 'q',
          request: Request,
          response: Answer,
          handle({ add }) {
            sum.view.write32(0, sum.view.read32(0) + add);
            return { sum: sum.view.read32(0) };
          },
        }),
      ],
      activate(device) {
        sum = device.durable(name, size);
        made.push(sum);
      },
    };
  });
}

async function add(bench: DeviceBench, count: number): Promise<number> {
  return (await bench.call('q', Request, { add: count }, Answer)).sum;
}

test('durable memory is zeros at first, and what it was when the process of the device dies', async () => {
  const made: DurableMemory[] = [];
  const bench = new DeviceBench(summing('sum', 12, made));
  assert.equal(await add(bench, 3), 3);
  bench.restart();
  assert.equal(await add(bench, 4), 7);
  assert.deepEqual(
    made.map(({ name, size, found, kept }) => [name, size, found, kept]),
    [
      ['sum', 12, false, true],
      ['sum', 12, true, true],
    ],
  );
  assert.equal(made[0]!.view.length, 12);
  assert.deepEqual(bench.warnings, []);
});

test('edited code finds what the code before it left', async () => {
  const made: DurableMemory[] = [];
  const bench = new DeviceBench(summing('sum', 4, made));
  await add(bench, 3);
  bench.replace(summing('sum', 4, made));
  assert.equal(await add(bench, 1), 4);
  assert.deepEqual(
    made.map(({ found }) => found),
    [false, true],
  );
});

test("a driver's reset takes it away, also when the process died and nothing was served since", async () => {
  const bench = new DeviceBench(summing());
  await add(bench, 3);
  bench.reset();
  bench.start();
  assert.equal(await add(bench, 1), 1);
  bench.reset();
  bench.restart();
  bench.start();
  assert.equal(await add(bench, 1), 1);
});

test('what a reset took away is nothing to code that still has it', async () => {
  const made: DurableMemory[] = [];
  const bench = new DeviceBench(summing('sum', 4, made));
  bench.reset();
  bench.start();
  made[0]!.view.write32(0, 77);
  assert.equal(await add(bench, 1), 1);
});

test('a state that is restored from bytes is gone on from, and nothing that was left', () => {
  const made: DurableMemory[] = [];
  const bench = new DeviceBench(summing('sum', 4, made));
  const saved = bench.runner.save();
  bench.reset();
  bench.runner.restore(saved);
  bench.start();
  assert.equal(made[1]!.found, false);
});

for (const [what, name, size, words] of [
  ['no name', '', 4, /^durable memory has a name of up to 63 letters, .* not ""$/],
  ['a name with a slash', 'a/b', 4, /not "a\/b"$/],
  ['a name that begins with a dot', '.a', 4, /not "\.a"$/],
  ['a name of 64 letters', 'a'.repeat(64), 4, /not "a{40}\.\.\."$/],
  ['no bytes', 'a', 0, /^durable memory 'a' can't have 0 bytes/],
  ['half a byte', 'a', 0.5, /can't have 0\.5 bytes/],
  ['too many bytes', 'a', 2 ** 40 + 1, /can't have 1099511627777 bytes: .* of 1099511627776 in all$/],
] as const) {
  test(`${what}: refused, with what can be`, () => {
    const bench = new DeviceBench(summing(name, size));
    assert.match((bench.errors[0] as Error).message, words);
    assert.equal((bench.errors[0] as Error).name, name === 'a' ? 'RangeError' : 'TypeError');
  });
}

test('another size than before is refused, by edited code and by the next process: a reset by the driver heals it', async () => {
  const bench = new DeviceBench(summing('sum', 4));
  await add(bench, 3);
  assert.throws(
    () => bench.replace(summing('sum', 8)),
    /^RangeError: durable memory 'sum' has 4 bytes, not 8: what has another size takes another name$/,
  );
  assert.equal(await add(bench, 1), 4);
  bench.restart(summing('sum', 8));
  assert.match(
    bench.warnings.at(-1)!,
    /needs a reset by its driver: durable memory 'sum' has 4 bytes, not 8/,
  );
  bench.reset();
  bench.start();
  assert.equal(await add(bench, 1), 1);
});

test('256 names, and no more', () => {
  const bench = new DeviceBench(
    defineDevice({
      id: 60,
      name: 'many',
      queues: [],
      activate(device) {
        for (let i = 0; i <= 256; i++) device.durable(`n${i}`, 1);
      },
    }),
  );
  assert.match(`${bench.errors[0]}`, /RangeError: durable memory 'n256' is one too many: there can be 256/);
});

/** Answers with the time of its clock, us. */
function clock(durable: boolean) {
  return defineDevice({
    id: 60,
    name: 'clock',
    queues: [
      structQueue({
        name: 'q',
        request: Request,
        response: Answer,
        handle: (_, device) => ({ sum: device.clock.now() / 1000 }),
      }),
    ],
    activate(device) {
      if (durable) device.durable('a', 1);
    },
  });
}

test("the next process's clock goes on from the last one's, and stands still while the guest does", async () => {
  const bench = new DeviceBench(clock(true));
  bench.advance(5_000_000);
  bench.runner.pause();
  bench.advance(1_000_000);
  bench.runner.activate();
  assert.equal(await add(bench, 0), 5000);
  bench.restart();
  bench.advance(2_000_000);
  assert.equal(await add(bench, 0), 7000);
  // It dies while the guest stands still, which has it go on later.
  bench.runner.pause();
  bench.advance(3_000_000);
  bench.restart();
  bench.advance(1_000_000);
  assert.equal(await add(bench, 0), 8000);
});

test('each store leaves one whole state of a clock: the last one or the one before', () => {
  const memory = new ArrayBuffer(32);
  let seen: (ClockState | undefined)[] = [];
  const plain = keptClock(new MappedView(memory));
  const watched = keptClock(
    new WatchedView(new MappedView(memory), {
      after: (kind) => {
        if (kind === 'write') seen.push(plain.load());
      },
    }),
  );
  assert.equal(plain.load(), undefined);
  let before: ClockState | undefined;
  for (const [running, ns] of [
    [true, 1.5],
    [false, 2 ** 60],
    [true, 7],
    [true, 8],
    [false, -1],
  ] as const) {
    seen = [];
    const state = { running, ns };
    watched.save(state);
    assert.deepEqual(seen, [before, before, state]);
    before = state;
  }
});
