import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Polled, Poller } from './poller.js';

/** ns that a look takes here. */
const STEP = 100;

/** A poller in a time of its own, and an event loop that is turned by hand. */
class Scene {
  time = 0;
  readonly waiting: (() => void)[] = [];
  readonly poller: Poller = new Poller({
    now: () => {
      this.time += STEP;
      return this.time;
    },
    soon: (callback) => void this.waiting.push(callback),
  });

  /** One turn of the event loop. */
  async turn(): Promise<void> {
    for (const callback of this.waiting.splice(0)) callback();
    // A slice is a chain of promises.
    await new Promise(setImmediate);
  }

  /** Turns until nobody polls. @returns the turns it took. */
  async settle(): Promise<number> {
    let turns = 0;
    for (; this.waiting.length > 0; turns++) {
      assert.ok(turns < 1000, 'it polls on');
      await this.turn();
    }
    return turns;
  }
}

/** A queue that has something at the times given. */
class Queue implements Polled {
  readonly #scene: Scene;
  readonly log: string[] = [];
  arrivals: number[] = [];
  enough = false;
  owing = false;
  looks = 0;
  restedAt: number | undefined;
  /** What comes in just before kicks are asked for, once. */
  late = false;

  constructor(scene: Scene) {
    this.#scene = scene;
  }

  begin(): boolean {
    this.restedAt = undefined;
    return true;
  }

  look(): number {
    this.looks += 1;
    if (this.late || !(this.arrivals[0]! <= this.#scene.time)) return 0;
    this.arrivals.shift();
    this.log.push(`served at ${this.#scene.time}`);
    return 1;
  }

  rest(): boolean {
    if (this.late) {
      this.late = false;
      this.arrivals.unshift(0);
      return true;
    }
    this.restedAt = this.#scene.time;
    return false;
  }
}

const near = (actual: number | undefined, expected: number): void =>
  assert.ok(Math.abs(actual! - expected) <= 10 * STEP, `${actual} is not about ${expected}`);

test('with a time it looks for so long after each request, and rests', async () => {
  const scene = new Scene();
  const queue = new Queue(scene);
  const spin = scene.poller.spin(queue, 50_000);
  await scene.settle();
  assert.equal(queue.looks, 0, 'nothing is looked at before the first kick');
  queue.arrivals = [20_000, 60_000, 200_000];
  spin.worked();
  await scene.settle();
  assert.equal(queue.log.length, 2);
  near(queue.restedAt, 110_000);
  assert.equal(spin.resting, true);
  scene.time = 200_000;
  spin.worked();
  await scene.settle();
  assert.equal(queue.log.length, 3);
  near(queue.restedAt, 250_000);
});

test('without a time it polls while that would have met the next request, and not while it would not', async () => {
  const scene = new Scene();
  const queue = new Queue(scene);
  const spin = scene.poller.spin(queue);
  const kickAfter = async (ns: number): Promise<number> => {
    scene.time += ns;
    const from = scene.time;
    spin.worked();
    await scene.settle();
    return queue.restedAt === undefined || queue.restedAt < from ? 0 : queue.restedAt - from;
  };
  assert.equal(await kickAfter(1e9), 0, 'nothing is known');
  assert.equal(await kickAfter(1e6), 0, 'a millisecond is too long to be polled for');
  near(await kickAfter(150_000), 10_000);
  near(await kickAfter(100_000), 20_000);
  near(await kickAfter(100_000), 40_000);
  near(await kickAfter(100_000), 80_000);
  near(await kickAfter(100_000), 160_000);
  near(await kickAfter(10_000), 200_000);
  assert.equal(await kickAfter(300_000), 0, 'an idle guest costs nothing');
});

test('the event loop has its turn every 100 us, and promises settle between two requests when an answer is owed', async () => {
  const scene = new Scene();
  const queue = new Queue(scene);
  queue.arrivals = [1000, 1100, 1200];
  queue.owing = true;
  const { look } = queue;
  queue.look = () => {
    const found = look.call(queue);
    if (found > 0) Promise.resolve().then(() => queue.log.push('settled'));
    return found;
  };
  scene.poller.spin(queue, 1_000_000).worked();
  near(await scene.settle(), 10);
  assert.deepEqual(
    queue.log.map((line) => line.split(' ')[0]),
    ['served', 'settled', 'served', 'settled', 'served', 'settled'],
  );
});

test('promises settle every 32 requests, and when there is none', async () => {
  const scene = new Scene();
  const queue = new Queue(scene);
  queue.arrivals = Array.from({ length: 100 }, () => 0);
  const settled: number[] = [];
  const { look } = queue;
  queue.look = () => {
    const found = look.call(queue);
    if (queue.log.length === 1) void Promise.resolve().then(() => settled.push(queue.log.length));
    if (queue.log.length === 90) void Promise.resolve().then(() => settled.push(queue.log.length));
    return found;
  };
  scene.poller.spin(queue, 10_000).worked();
  await scene.settle();
  assert.deepEqual(settled.slice(0, 2), [32, 96]);
});

test('queues take turns', async () => {
  const scene = new Scene();
  const queues = [new Queue(scene), new Queue(scene)];
  const log: number[] = [];
  queues.forEach((queue, index) => {
    queue.arrivals = Array.from({ length: 50 }, () => 0);
    const { look } = queue;
    queue.look = () => {
      const found = look.call(queue);
      if (found > 0) log.push(index);
      return found;
    };
    scene.poller.spin(queue, 50_000).worked();
  });
  await scene.settle();
  assert.equal(log.length, 100);
  for (let i = 0; i < 100; i += 2) assert.notEqual(log[i], log[i + 1]);
});

test('what comes in before kicks are asked for is looked at on', async () => {
  const scene = new Scene();
  const queue = new Queue(scene);
  queue.late = true;
  scene.poller.spin(queue, 1000).worked();
  await scene.settle();
  assert.equal(queue.log.length, 1);
  assert.notEqual(queue.restedAt, undefined);
});

test('a queue of which more looks are of no use rests at once', async () => {
  const scene = new Scene();
  const queue = new Queue(scene);
  queue.arrivals = [0, 0];
  queue.enough = true;
  scene.poller.spin(queue, 100_000).worked();
  await scene.settle();
  assert.equal(queue.log.length, 1);
  near(queue.restedAt, 0);
});

test('a queue with nothing to look at is not polled; one that ended is not touched', async () => {
  const scene = new Scene();
  const [refusing, ended] = [new Queue(scene), new Queue(scene)];
  refusing.begin = () => false;
  scene.poller.spin(refusing, 100_000).worked();
  assert.equal(scene.waiting.length, 0);
  const spin = scene.poller.spin(ended, 100_000);
  spin.worked();
  spin.end();
  await scene.settle();
  spin.worked();
  await scene.settle();
  assert.deepEqual([refusing.looks, ended.looks, ended.restedAt], [0, 0, undefined]);
});

test('a mistake in a look is thrown from the event loop, and others are looked at on', async () => {
  const scene = new Scene();
  const [bad, good] = [new Queue(scene), new Queue(scene)];
  const { look } = bad;
  bad.look = () => {
    if (bad.looks === 0) {
      bad.looks += 1;
      throw new Error('oops');
    }
    return look.call(bad);
  };
  good.arrivals = [5000];
  scene.poller.spin(good, 50_000).worked();
  scene.poller.spin(bad, 50_000).worked();
  await scene.turn();
  const [turn, rethrow] = scene.waiting.splice(0);
  assert.throws(rethrow!, /oops/);
  scene.waiting.push(turn!);
  await scene.settle();
  assert.equal(good.log.length, 1);
});
