import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { le64 } from '../../virtio/struct.js';
import { DeviceBench } from '../../virtio/testing/device-bench.js';
import type { SentRequest } from '../../virtqueue/testing/polite-driver.js';
import { WatchedView } from '../../virtqueue/testing/watched-view.js';
import { virtioMisc } from './device.js';
import * as wire from './wire.js';

/** Each store is more than a quick test has the time for. */
const EVERY = Number(process.env.VIRTIO_MISC_KILL_EVERY ?? 5);

const MS = 1e6;
const { OK, EXISTS, NOT_FOUND, NO_SPACE } = wire.STATUS;

/** What a driver does. A request is a type with its words. */
type Step =
  | { readonly ask: readonly (readonly number[])[] }
  | { readonly post: number; readonly room?: number }
  /** ms. */
  | { readonly pass: number }
  | { readonly reset: true };

const set = (id: number, ms: number): number[] => [wire.VIRTIO_MISC_SET_TIMER, ms, id];
const every = (id: number, ns: number): number[] => [wire.VIRTIO_MISC_SET_TIMER_NS, id, ns, 0, ns, 0];
const cancel = (id: number): number[] => [wire.VIRTIO_MISC_CANCEL_TIMER, 0, id];

/** What the driver saw, step by step: the answers to its requests, and the timers that it was told of. */
interface Seen {
  readonly statuses: number[];
  /** Those that expire once. */
  readonly told: number[];
  /** How often each of the others did. */
  readonly times: Record<number, number>;
}

/** virtio-misc in a process that dies again and again, before its next store. */
class Mortal {
  readonly seen: Seen[] = [];
  stores = 0;
  killed = 0;
  readonly #kills: readonly number[];
  #left: number;
  #dead = false;
  readonly #bench: DeviceBench;
  readonly #requests = new Map<SentRequest, number>();
  readonly #periodic = new Set<number>();

  /**
   * @param kills - how many stores each process carries out; the one after the last of them lives.
   * @param tracked - what is in flight is kept as a front-end has it kept.
   */
  constructor(kills: readonly number[], tracked: boolean) {
    this.#kills = kills;
    this.#left = Number.POSITIVE_INFINITY;
    const before = (kind: string): void => {
      if (this.#dead) throw new Error('it is dead');
      if (kind === 'read' || kind === 'load') return;
      if (this.#left === 0) {
        this.#dead = true;
        throw new Error('it dies');
      }
      this.#left -= 1;
      this.stores += 1;
    };
    this.#bench = new DeviceBench(virtioMisc({ maxTimers: 5 }), {
      seen: (view) => new WatchedView(view, { before }),
      tracked,
    });
    this.stores = 0;
    this.#left = kills[0] ?? Number.POSITIVE_INFINITY;
  }

  do(step: Step): void {
    const bench = this.#bench;
    const [controlq, notifyq] = bench.drivers as [DeviceBench['drivers'][0], DeviceBench['drivers'][0]];
    const seen: Seen = { statuses: [], told: [], times: {} };
    this.seen.push(seen);
    if ('ask' in step) {
      for (const words of step.ask) {
        const bytes = new Uint8Array(Uint32Array.from(words).buffer);
        const sent = controlq.sent([bytes], [wire.STATUS_SIZE])!;
        this.#requests.set(sent, seen.statuses.length);
        seen.statuses.push(-1);
        if (words.length === 6) this.#periodic.add(words[1]!);
        else if (words[0] === wire.VIRTIO_MISC_SET_TIMER) this.#periodic.delete(words[2]!);
      }
      this.#act(() => bench.kick(wire.CONTROLQ));
    } else if ('post' in step) {
      for (let i = 0; i < step.post; i++) notifyq.send([], [step.room ?? wire.NOTIFICATION.sizeWithCount]);
      this.#act(() => bench.kick(wire.NOTIFYQ));
    } else if ('pass' in step) {
      // By what is told at a time, so that no more is told at once by who takes another's place.
      for (let ms = 0; ms < step.pass; ms++) this.#act(() => bench.advance(MS));
    } else {
      this.#act(() => bench.reset());
      // What was said and not done yet is said to the next process.
      this.#act(() => bench.reset());
      this.#requests.clear();
      this.#act(() => bench.start());
    }
    this.#receive(seen);
    assert.equal(this.#requests.size, 0, 'all are answered');
  }

  /** Has a process act, and those after it if it dies. */
  #act(act: () => void): void {
    let next = act;
    for (;;) {
      try {
        next();
      } catch (error) {
        if (!this.#dead) throw error;
      }
      if (!this.#dead) break;
      this.killed += 1;
      this.#dead = false;
      this.#left = this.#kills[this.killed] ?? Number.POSITIVE_INFINITY;
      this.#bench.warnings.length = 0;
      next = () => this.#bench.restart();
    }
    assert.deepEqual(this.#bench.warnings, []);
  }

  #receive({ statuses, told, times }: Seen): void {
    const [controlq, notifyq] = this.#bench.drivers;
    for (let answer = controlq!.receive(); answer !== undefined; answer = controlq!.receive()) {
      const index = this.#requests.get(answer.request);
      assert.ok(index !== undefined, 'an answer to nothing');
      this.#requests.delete(answer.request);
      statuses[index] = new DataView(answer.bytes.buffer).getUint32(0, true);
    }
    for (let answer = notifyq!.receive(); answer !== undefined; answer = notifyq!.receive()) {
      const { request_id, expirations, sizeWithCount } = wire.NOTIFICATION;
      assert.equal(answer.bytes.length, sizeWithCount);
      const view = new DataView(answer.bytes.buffer);
      const id = view.getUint32(request_id, true);
      const count = le64.read(view, expirations);
      if (this.#periodic.has(id)) times[id] = (times[id] ?? 0) + count;
      else {
        assert.equal(count, 1);
        told.push(id);
      }
    }
  }
}

/** What a driver sees of a device that is killed so. It is what it sees of one that is not. */
function live(
  steps: readonly Step[],
  kills: readonly number[],
  expected?: readonly Seen[],
  tracked = false,
): Mortal {
  const mortal = new Mortal(kills, tracked);
  for (const [i, step] of steps.entries()) {
    mortal.do(step);
    if (expected !== undefined)
      assert.deepEqual(mortal.seen[i], expected[i], `step ${i}, killed after ${kills}`);
  }
  return mortal;
}

const SCRIPT: readonly Step[] = [
  { ask: [set(1, 5), set(2, 3), every(3, 2 * MS)] },
  // Some fail: in use, not there, too many.
  { ask: [set(1, 1), cancel(9), set(4, 3), set(5, 0), set(6, 1), cancel(2), set(2, 4)] },
  { post: 2 },
  { pass: 4 },
  { post: 3 },
  // One that is cancelled and set anew, in one batch.
  { ask: [cancel(1), set(1, 2), cancel(1), set(1, 3)] },
  { pass: 3 },
  { post: 5 },
  { ask: [set(7, 0), cancel(7), cancel(3), set(3, 0)] },
  { ask: [set(8, 1), every(9, MS)] },
  { reset: true },
  { post: 4 },
  { ask: [set(8, 2), set(9, 2), set(1, 2), every(2, 2 * MS)] },
  { pass: 2 },
  { pass: 2 },
  { ask: [cancel(2)] },
];

test("virtio-misc dies before any store, its own, the ring's or the keeper's: each request is answered once with its own answer, each timer told of once", (t) => {
  const whole = live(SCRIPT, []);
  assert.deepEqual(whole.seen[1]!.statuses, [EXISTS, NOT_FOUND, OK, OK, NO_SPACE, OK, OK]);
  for (let kill = 0; kill < whole.stores; kill += EVERY) {
    assert.equal(live(SCRIPT, [kill], whole.seen).killed, 1, `${kill}`);
  }
  const tracked = live(SCRIPT, [], whole.seen, true);
  for (let kill = 0; kill < tracked.stores; kill += 2 * EVERY)
    assert.equal(live(SCRIPT, [kill], whole.seen, true).killed, 1, `tracked, ${kill}`);
  t.diagnostic(`${whole.stores} stores`);
});

test('virtio-misc dies before any store, and the next one before any of its first', () => {
  const whole = live(SCRIPT, []);
  for (let kill = 3; kill < whole.stores; kill += 40 * EVERY) {
    for (let next = 0; next < 60; next += 3) live(SCRIPT, [kill, next], whole.seen);
  }
});

const id = fc.integer({ min: 1, max: 7 });
const request = fc.oneof(
  fc.tuple(id, fc.integer({ min: 0, max: 4 })).map(([timer, ms]) => set(timer, ms)),
  fc.tuple(id, fc.integer({ min: 1, max: 3 })).map(([timer, ms]) => every(10 + timer, ms * MS)),
  id.map(cancel),
  id.map((timer) => cancel(10 + timer)),
);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ ask: fc.array(request, { minLength: 1, maxLength: 12 }) }) },
  { weight: 2, arbitrary: fc.record({ post: fc.nat(6) }) },
  { weight: 3, arbitrary: fc.record({ pass: fc.nat(5) }) },
  { weight: 1, arbitrary: fc.constant<Step>({ reset: true }) },
);

test('virtio-misc dies again and again before any stores, whatever its driver does', () => {
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 14 }),
      fc.array(fc.nat(150), { maxLength: 12 }),
      fc.boolean(),
      (steps, kills, tracked) => {
        live(steps, kills, live(steps, []).seen, tracked);
      },
    ),
    { numRuns: 300 },
  );
});
