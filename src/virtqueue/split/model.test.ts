import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { Chain } from '../chain.js';
import { PoliteDriver } from '../testing/polite-driver.js';
import { RingWriter } from '../testing/ring-writer.js';
import { SplitDeviceQueue } from './device.js';

/*
 * Both ends against a model that is four arrays: whatever the two do in whatever order, each request arrives once, whole and
 * in order, each answer comes back once to the request it belongs to, and each is woken exactly when it asked for it.
 */

interface Step {
  readonly act: 'send' | 'publish' | 'pop' | 'push' | 'answer' | 'receive' | 'kicks' | 'interrupts';
  /** Lengths of the buffers, and what else the act has a choice of. */
  readonly readable: readonly number[];
  readonly writable: readonly number[];
  readonly choice: number;
  readonly on: boolean;
}

interface Request {
  readonly message: Uint8Array;
  readonly room: number;
  answer: Uint8Array;
}

/** One end that sleeps and is woken: at which entry, counted from 0 without a wrap. */
class Sleeper {
  readonly #eventIdx: boolean;
  /** Whether it wants to hear of everything, and of which entry. As on a new ring. */
  #on = true;
  #event: number | undefined = 0;

  constructor(eventIdx: boolean) {
    this.#eventIdx = eventIdx;
  }

  ask(on: boolean, entry: number): void {
    this.#on = on;
    this.#event = on ? entry : undefined;
  }

  isWokenBy(from: number, to: number): boolean {
    if (from === to) return false;
    if (!this.#eventIdx) return this.#on;
    return this.#event !== undefined && from <= this.#event && this.#event < to;
  }
}

class World {
  readonly driver: PoliteDriver;
  device: SplitDeviceQueue;
  readonly ring: RingWriter;
  readonly #base: number;
  readonly #size: number;
  readonly #indirect: boolean;
  readonly #kicks: Sleeper;
  readonly #interrupts: Sleeper;
  readonly #sent: Request[] = [];
  readonly #available: Request[] = [];
  readonly #held: { chain: Chain; request: Request }[] = [];
  readonly #pushed: Request[] = [];
  readonly #used: Request[] = [];
  /** Descriptors that each request takes until it is received. */
  readonly #costs = new Map<Request, number>();
  /** How many ever were published, popped, used and received. */
  #published = 0;
  #popped = 0;
  #usedCount = 0;
  #received = 0;
  #taken = 0;
  #firstInterrupt: boolean;
  #seed = 0;

  constructor(options: { size: number; base: number; eventIdx: boolean; indirect: boolean }) {
    this.driver = new PoliteDriver({ ...options, bytes: 1 << 16 });
    this.device = new SplitDeviceQueue(this.driver.device);
    this.ring = new RingWriter(this.driver.device);
    this.#base = options.base;
    this.#size = options.size;
    this.#indirect = options.indirect;
    this.#kicks = new Sleeper(options.eventIdx);
    this.#interrupts = new Sleeper(options.eventIdx);
    this.#firstInterrupt = options.eventIdx;
  }

  step(step: Step): void {
    this[step.act](step);
    assert.equal(this.device.base, (this.#base + this.#popped) & 0xffff);
    assert.equal(this.device.inFlight, this.#held.length);
    assert.equal(this.ring.availIndex, (this.#base + this.#published) & 0xffff);
    assert.equal(this.ring.usedIndex, (this.#base + this.#usedCount) & 0xffff);
    assert.equal(this.driver.queue.free, this.#size - this.#taken);
  }

  /** Lets everything that is under way come to its end. */
  finish(): void {
    const step = { readable: [], writable: [], choice: 0, on: true };
    this.step({ ...step, act: 'publish' });
    while (this.#available.length > 0) this.step({ ...step, act: 'pop' });
    while (this.#held.length > 0) this.step({ ...step, act: 'push' });
    this.step({ ...step, act: 'answer' });
    while (this.#used.length > 0) this.step({ ...step, act: 'receive' });
    assert.equal(this.driver.receive(), undefined);
    assert.equal(this.device.pop(), undefined);
    assert.equal(this.#taken, 0);
  }

  #descriptors(readable: readonly number[], writable: readonly number[]): number {
    const count = readable.length + writable.length;
    return this.#indirect && count > 1 ? 1 : count;
  }

  send({ readable, writable }: Step): void {
    const count = readable.length + writable.length;
    if (count === 0 || count > this.#size) return;
    const pieces = readable.map((length) => Uint8Array.from({ length }, () => this.#seed++));
    const fits = this.#descriptors(readable, writable) <= this.#size - this.#taken;
    assert.equal(this.driver.send(pieces, writable), fits);
    if (!fits) return;
    this.#taken += this.#descriptors(readable, writable);
    const message = Uint8Array.from(pieces.flatMap((piece) => [...piece]));
    const request = { message, room: writable.reduce((a, b) => a + b, 0), answer: new Uint8Array() };
    this.#sent.push(request);
    this.#costs.set(request, this.#descriptors(readable, writable));
  }

  publish(): void {
    const from = this.#published;
    this.#available.push(...this.#sent);
    this.#published += this.#sent.length;
    this.#sent.length = 0;
    assert.equal(this.driver.publish(), this.#kicks.isWokenBy(from, this.#published), 'kick');
  }

  pop({ choice }: Step): void {
    const chain = this.device.pop();
    const request = this.#available.shift();
    assert.equal(chain === undefined, request === undefined);
    if (chain === undefined || request === undefined) return;
    this.#popped += 1;
    assert.deepEqual([chain.readable, chain.writable], [request.message.length, request.room]);
    // In two reads, cut anywhere.
    const first = new Uint8Array(choice % (chain.readable + 1));
    assert.equal(chain.read(first), first.length);
    assert.deepEqual(Uint8Array.from([...first, ...chain.readRest()]), request.message);
    this.#held.push({ chain, request });
  }

  push({ choice }: Step): void {
    const [held] = this.#held.splice(choice % Math.max(this.#held.length, 1), 1);
    if (held === undefined) return;
    const { chain, request } = held;
    request.answer = Uint8Array.from({ length: choice % (request.room + 1) }, () => this.#seed++);
    const cut = choice % 7;
    const done = chain.write(request.answer.subarray(0, cut)) + chain.write(request.answer.subarray(cut));
    assert.equal(done, request.answer.length);
    this.device.push(chain);
    this.#pushed.push(request);
  }

  /** The device publishes. */
  answer(): void {
    const from = this.#usedCount;
    this.#used.push(...this.#pushed);
    this.#usedCount += this.#pushed.length;
    this.#pushed.length = 0;
    // With EVENT_IDX the first one also makes up for what an earlier device on this ring may have left out.
    const first = this.#firstInterrupt && this.#usedCount > from;
    if (first) this.#firstInterrupt = false;
    const owed = first && ((this.#base - 1 - this.ring.usedEvent) & 0xffff) < this.#size;
    const woken = owed || this.#interrupts.isWokenBy(from, this.#usedCount);
    assert.equal(this.device.publish(), woken, 'interrupt');
  }

  receive(): void {
    const answer = this.driver.receive();
    const request = this.#used.shift();
    assert.deepEqual(answer?.bytes, request?.answer);
    if (request === undefined) return;
    this.#received += 1;
    this.#taken -= this.#costs.get(request)!;
    this.#costs.delete(request);
  }

  kicks({ on }: Step): void {
    this.#kicks.ask(on, this.#popped);
    if (on) assert.equal(this.device.enableKicks(), this.#available.length > 0);
    else this.device.disableKicks();
  }

  interrupts({ on }: Step): void {
    this.#interrupts.ask(on, this.#received);
    if (on) assert.equal(this.driver.queue.enableInterrupts(), this.#used.length > 0);
    else this.driver.queue.disableInterrupts();
  }
}

const lengths = fc.array(fc.integer({ min: 1, max: 12 }), { maxLength: 3 });
const step: fc.Arbitrary<Step> = fc.record({
  act: fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom('send', 'pop', 'push', 'receive') },
    { weight: 3, arbitrary: fc.constantFrom('publish', 'answer') },
    { weight: 1, arbitrary: fc.constantFrom('kicks', 'interrupts') },
  ) as fc.Arbitrary<Step['act']>,
  readable: lengths,
  writable: lengths,
  choice: fc.nat(1000),
  on: fc.boolean(),
});
/** Mostly so that the wrap comes soon; it must come in the middle of everything else. */
const base = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 0xffe0, max: 0xffff }) },
  { weight: 1, arbitrary: fc.constantFrom(0, 0x7ff8) },
);
const options = fc.record({
  size: fc.constantFrom(1, 2, 4, 8, 32),
  base,
  eventIdx: fc.boolean(),
  indirect: fc.boolean(),
});

test('2.7.13, 2.7.14: two ends that do anything in any order agree with four arrays', () => {
  fc.assert(
    fc.property(options, fc.array(step, { minLength: 20, maxLength: 300, size: 'max' }), (made, steps) => {
      const world = new World(made);
      for (const now of steps) world.step(now);
      world.finish();
    }),
    { numRuns: 300 },
  );
});

for (const eventIdx of [false, true]) {
  const name = eventIdx ? 'with EVENT_IDX' : 'without EVENT_IDX';
  test(`2.7.13.3: 200000 chains, over three 16-bit wraps, each woken for and answered, ${name}`, () => {
    const world = new World({ size: 4, base: 0, eventIdx, indirect: false });
    const { driver, device } = world;
    let sent = 0;
    let popped = 0;
    let received = 0;
    let kicked = true;
    let interrupted = true;
    while (received < 200_000) {
      // A driver and a device that do nothing unless they are woken: a wakeup that is lost stops the loop.
      assert.ok(kicked || interrupted, `nobody is awake after ${received} chains`);
      if (interrupted) {
        interrupted = false;
        driver.queue.disableInterrupts();
        for (let used = driver.queue.reap(); used !== undefined; used = driver.queue.reap()) received += 1;
        assert.equal(driver.queue.enableInterrupts(), false);
        const buffer = { address: driver.device.descriptorArea, length: 1 + (sent % 3) };
        const request = { readable: [buffer], writable: [] };
        for (let n = 0; n < 1 + (sent % 4) && driver.queue.free > 0; n++) {
          driver.queue.add(request.readable, request.writable, request);
          sent += 1;
        }
        kicked = driver.publish() || kicked;
      }
      if (kicked) {
        kicked = false;
        device.disableKicks();
        for (let chain = device.pop(); chain !== undefined; chain = device.pop()) {
          assert.equal(device.inFlight, 1);
          assert.ok(++popped <= sent, 'more chains than were sent');
          device.push(chain);
        }
        assert.equal(device.enableKicks(), false);
        interrupted = device.publish();
      }
    }
    assert.equal(device.base, sent & 0xffff);
  });
}
