import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DeviceBench, defineDevice, le32, struct, structQueue } from '../index.js';

const Numbers = struct({ a: le32, b: le32 });
const Sum = struct({ sum: le32, count: le32 });

function answering(answer: () => unknown, checkAnswers = true): DeviceBench {
  return new DeviceBench(
    defineDevice({
      id: 60,
      name: 'x',
      checkAnswers,
      queues: [structQueue({ name: 'q', request: Numbers, response: Sum, handle: () => answer() as never })],
    }),
  );
}

const request = Numbers.encode({ a: 1, b: 2 });

describe('an answer that can not be meant comes back empty, and is named', () => {
  for (const [answer, problem] of [
    [{ sums: 1, count: 2 }, "'sums' is no field of { sum, count }: did you mean 'sum'?"],
    [{ sum: 1, count: 2, more: 3 }, "'more' is no field of { sum, count }"],
    [{ sum: 1 }, 'field count is missing'],
    [{ sum: '1', count: 2 }, 'field sum is "1", and not a number'],
    [{ sum: Number.NaN, count: 2 }, 'field sum is the number NaN, and not a number'],
    [{ sum: 1n, count: 2 }, 'field sum is the bigint 1, and not a number'],
    [undefined, 'it is undefined, and not { sum, count }'],
    [5, 'it is the number 5, and not { sum, count }'],
  ] as const) {
    for (const later of [false, true]) {
      test(`${problem}${later ? ', from a promise' : ''}`, async () => {
        const bench = answering(() => (later ? Promise.resolve(answer) : answer));
        assert.deepEqual(await bench.request('q', request, 8), new Uint8Array());
        assert.deepEqual(bench.warnings, [
          `x: a request on q failed: the answer of q can't be sent: ${problem}`,
        ]);
        assert.deepEqual(bench.broken, []);
      });
    }
  }
});

test('what is missing or of another type is named however often was answered before', async () => {
  let count = 0;
  const bench = answering(() => {
    count += 1;
    return count > 500 ? { sum: 1, cuont: 2 } : { sum: 1, count };
  });
  for (let i = 1; i <= 500; i++) assert.equal(Sum.decode(bench.ask('q', request, 8)!).count, i);
  assert.deepEqual(bench.ask('q', request, 8), new Uint8Array());
  assert.match(bench.warnings[0]!, /'cuont' is no field of \{ sum, count \}: did you mean 'count'\?/);
});

test('the stack of a wrong answer begins where its queue was made', () => {
  const errors: unknown[] = [];
  const { runner, ...bench } = answering(() => undefined);
  assert.deepEqual(bench.warnings, []);
  const queue = structQueue({ name: 'q', request: Numbers, response: Sum, handle: () => undefined as never });
  const warn = (_: string, about?: { error?: unknown }): void => void errors.push(about?.error);
  assert.equal(runner.queueCount, 1);
  const chain = { readable: 8, writable: 8, read: () => 8, write: () => 0 } as never;
  try {
    queue.handle!(chain, { warn } as never, { name: 'q' } as never);
  } catch (error) {
    errors.push(error);
  }
  assert.match((errors[0] as Error).stack!.split('\n')[1]!, /answers\.test/);
});

test('null hands a request back as it came; without the check, so does undefined, and nothing is named', () => {
  const nothing = answering(() => null);
  assert.deepEqual([nothing.ask('q', request, 8), nothing.warnings], [new Uint8Array(), []]);
  const unchecked = answering(() => undefined, false);
  assert.deepEqual([unchecked.ask('q', request, 8), unchecked.warnings], [new Uint8Array(), []]);
  const partial = answering(() => ({ sum: 7, more: 1 }), false);
  assert.deepEqual([Sum.decode(partial.ask('q', request, 8)!), partial.warnings], [{ sum: 7, count: 0 }, []]);
});

test('an object from a queue without a response is named', () => {
  const bench = new DeviceBench(
    defineDevice({
      id: 60,
      name: 'x',
      queues: [structQueue({ name: 'q', request: Numbers, handle: () => ({ sum: 1 }) as never })],
    }),
  );
  bench.ask('q', request, 8);
  assert.match(bench.warnings[0]!, /it is an object, and the queue has no response/);
});

test('a handler that has not settled for some seconds is named, once', async () => {
  const waiting: (() => void)[] = [];
  const bench = answering(() => new Promise((resolve) => waiting.push(() => resolve({ sum: 1, count: 2 }))));
  const answers = [bench.request('q', request, 8), bench.request('q', request, 8)];
  bench.advance(4.9e9);
  assert.deepEqual(bench.warnings, []);
  bench.advance(30e9);
  assert.deepEqual(bench.warnings, [
    'x: the handler of q has not settled for more than 5 s: its request comes back when it does',
  ]);
  for (const settle of waiting) settle();
  assert.deepEqual(
    (await Promise.all(answers)).map(({ length }) => length),
    [8, 8],
  );
  assert.equal(bench.clock.next, undefined, 'nobody looks while nothing is under way');
  const quick = bench.request('q', request, 8);
  waiting.at(-1)!();
  await quick;
  bench.advance(60e9);
  assert.equal(bench.warnings.length, 1);
});
