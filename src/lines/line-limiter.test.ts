import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LineLimiter, ONCE } from './line-limiter.js';

/** A limiter on a clock that stands still until told. */
class Bench {
  readonly shown: string[] = [];
  readonly limiter: LineLimiter<number>;
  #now = 0;
  #timers: { at: number; callback: () => void }[] = [];

  constructor() {
    this.limiter = new LineLimiter<number>({
      write: (line, about) => void this.shown.push(`${about} ${line}`),
      now: () => this.#now,
      after: (ms, callback) => {
        const timer = { at: this.#now + ms, callback };
        this.#timers.push(timer);
        return () => {
          this.#timers = this.#timers.filter((other) => other !== timer);
        };
      },
    });
  }

  advance(ms: number): void {
    for (const end = this.#now + ms; this.#now < end; ) {
      this.#now += 1;
      const due = this.#timers.filter(({ at }) => at <= this.#now);
      this.#timers = this.#timers.filter(({ at }) => at > this.#now);
      for (const { callback } of due) callback();
    }
  }

  take(): string[] {
    return this.shown.splice(0);
  }

  get timers(): number {
    return this.#timers.length;
  }
}

test('the first ten of a kind are shown, then one a second with how many there were', () => {
  const bench = new Bench();
  const first = Array.from({ length: 10 }, (_, i) => `${i + 1} reset ${i + 1}`);
  for (let i = 1; i <= 1000; i++) bench.limiter.say(`reset ${i}`, i);
  assert.deepEqual(bench.take(), first);
  bench.advance(1000);
  assert.deepEqual(bench.take(), ['1000 reset 1000 (and 989 more)']);
});

test('of more than a thousand in a second, only the number is of interest', () => {
  const bench = new Bench();
  for (let i = 1; i <= 100_000; i++) bench.limiter.say(`reset ${i}`, i);
  assert.equal(bench.take().at(-1), '1001 reset 1001');
  bench.advance(1000);
  assert.deepEqual(bench.take(), ['1000 reset 1000 (and 989 more)', '100000 reset 100000 (and 98998 more)']);
});

test('another kind is shown meanwhile, and one that was quiet starts anew', () => {
  const bench = new Bench();
  for (let i = 0; i < 100; i++) bench.limiter.say(`reset ${i}`, 1);
  bench.limiter.say('queue 0 is broken', 2);
  assert.equal(bench.take().at(-1), '2 queue 0 is broken');
  bench.advance(20_000);
  assert.deepEqual(bench.take(), ['1 reset 99 (and 89 more)']);
  for (let i = 0; i < 10; i++) bench.limiter.say(`reset ${i}`, 1);
  assert.equal(bench.take().length, 10);
});

test('a state that lasts is said once, then once a minute', () => {
  const bench = new Bench();
  for (let s = 0; s < 180; s++) {
    bench.limiter.say('no descriptors', 0, ONCE);
    bench.advance(1000);
  }
  assert.deepEqual(bench.take()[0], '0 no descriptors');
  assert.ok(bench.take().length <= 3);
});

test("kinds of a peer's own making are counted together", () => {
  const bench = new Bench();
  const word = (i: number): string => String.fromCharCode(97 + (i % 26), 97 + ((i / 26) % 26));
  for (let i = 0; i < 500; i++) bench.limiter.say(`no ${word(i)}`, i);
  assert.ok(bench.take().length <= 17);
  bench.advance(1000);
  assert.equal(bench.take().length, 1);
});

test('a line that takes work to make is not made, only counted', () => {
  const bench = new Bench();
  let made = 0;
  for (let i = 0; i < 3000; i++) {
    if (bench.limiter.allows('chains', 1, { first: 1000, each: 1000 }, (count) => `${count} not shown`))
      made += 1;
  }
  assert.equal(made, 1000);
  bench.advance(1000);
  assert.deepEqual(bench.take(), ['1 2000 not shown']);
});

test('flush says what was only counted; nothing is left behind', () => {
  const bench = new Bench();
  for (let i = 0; i < 12; i++) bench.limiter.say('reset', i);
  bench.take();
  bench.limiter.flush();
  assert.deepEqual(bench.take(), ['11 reset (and 1 more)']);
  assert.equal(bench.timers, 0);
});

test('every line is shown or counted, and a minute never shows more than the limits', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(3), fc.nat(400), fc.nat(3000)), { maxLength: 30 }), (bursts) => {
      const bench = new Bench();
      let said = 0;
      for (const [kind, count, pause] of bursts) {
        for (let i = 0; i < count; i++) bench.limiter.say(`kind ${'abcd'[kind]} ${i}`, 0);
        said += count;
        bench.advance(pause);
      }
      bench.limiter.flush();
      const lines = bench.take();
      const more = lines.map((line) => Number(/\(and (\d+) more\)$/.exec(line)?.[1] ?? 0));
      assert.equal(lines.length + more.reduce((sum, count) => sum + count, 0), said);
      const seconds = bursts.reduce((sum, [, , pause]) => sum + pause / 1000, 1);
      assert.ok(lines.length <= 5 * (10 + 2 * seconds + 1));
    }),
    { numRuns: 50 },
  );
});
