import assert from 'node:assert/strict';
import { test } from 'node:test';
import { alternate } from '../../bench/harness/alternate.js';
import { figure, ratio } from '../../bench/harness/figure.js';
import { formatTable } from '../../bench/harness/format-table.js';
import { Workshop } from '../../bench/harness/workshop.js';

test('a figure is the median of its samples, with the least and the most', () => {
  assert.deepEqual(figure([3, 1, 10]), { median: 3, min: 1, max: 10 });
  assert.deepEqual(figure([4, 1, 2, 100]), { median: 3, min: 1, max: 100 });
  assert.throws(() => figure([]), RangeError);
});

test('a ratio is taken round by round', () => {
  assert.deepEqual(ratio([1, 20, 3], [2, 10, 3]), { median: 1, min: 0.5, max: 2 });
});

test('contenders take turns, and each begins a round', async () => {
  const order: string[] = [];
  const contender = (name: string) => async () => {
    order.push(name);
    return name + order.length;
  };
  const samples = await alternate(3, ['a', 'b', 'c'].map(contender));
  assert.equal(order.join(''), 'abcbcacab');
  assert.deepEqual(samples, [
    ['a1', 'a6', 'a8'],
    ['b2', 'b4', 'b9'],
    ['c3', 'c5', 'c7'],
  ]);
});

test('a table has its figures in three digits', () => {
  const text = formatTable({
    title: 'trips',
    columns: ['who', 'trips/s', 'ratio'],
    rows: [
      ['C', { median: 1_234_567, min: 900_000, max: 1_300_000 }, undefined],
      ['JavaScript', 9999, { median: 0.5, min: 0.5, max: 0.5 }],
    ],
    notes: ['On one CPU.'],
  });
  assert.equal(
    text,
    [
      'trips',
      '',
      '| who        |                trips/s | ratio |',
      '|------------|-----------------------:|------:|',
      '| C          | 1.23 M (900 k..1.30 M) |       |',
      '| JavaScript |                   9999 |  0.50 |',
      '',
      'On one CPU.',
      '',
    ].join('\n'),
  );
});

test('a workshop ends the processes that it started, and says how one failed', async () => {
  const workshop = new Workshop({ quick: true, rounds: 1, progress: () => {} });
  const [cpu] = workshop.cpus;
  const sleeper = workshop.start([process.execPath, '-e', 'setInterval(() => {}, 1000)'], { cpu });
  const failed = workshop.run([process.execPath, '-e', 'console.error("no such thing"); process.exit(3)']);
  await assert.rejects(failed, { name: 'BenchError', message: /ended with 3: no such thing$/ });
  await assert.rejects(workshop.run(['/no/such/program']), { name: 'BenchError' });
  assert.equal(await workshop.run([process.execPath, '-e', 'console.log(6 * 7)'], { cpu }), '42\n');
  await workshop.close();
  await sleeper.output;
  assert.throws(() => process.kill(sleeper.pid, 0), { code: 'ESRCH' });
});
