import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import type { Chain } from '../chain.js';
import type { Virtqueue } from '../virtqueue.js';
import type { PoliteDriver } from './polite-driver.js';

export interface Step {
  readonly act: 'send' | 'publish' | 'pop' | 'push' | 'answer' | 'receive' | 'kicks' | 'interrupts';
  /** Lengths of the buffers, and what else the act has a choice of. */
  readonly readable: readonly number[];
  readonly writable: readonly number[];
  readonly choice: number;
  readonly on: boolean;
}

const lengths = fc.array(fc.integer({ min: 1, max: 12 }), { maxLength: 3 });

/** What either end may do next. */
export const anyStep: fc.Arbitrary<Step> = fc.record({
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

/** Two ends of a ring, and what of its layout shows. */
export interface Modelled {
  readonly driver: PoliteDriver;
  readonly device: Virtqueue;
  readonly eventIdx: boolean;
  readonly indirect: boolean;
  readonly inOrder: boolean;
  /** What the two count by: an index goes on by one for each chain, a place in a packed ring by one for each descriptor. */
  readonly unit: 'chain' | 'descriptor';
  /** With EVENT_IDX: what both ends of a new ring want to hear of, before they say so. */
  readonly first: 'entry 0' | 'everything';
  /** Whether the very first answer makes up for what an earlier device on this ring may have left out. */
  owed(): boolean;
  /** What else is seen of so many units published, popped and used. */
  check(published: number, popped: number, used: number): void;
}

interface Request {
  readonly message: Uint8Array;
  readonly room: number;
  /** Descriptors that it takes. */
  readonly cost: number;
  answer: Uint8Array;
  finished: boolean;
}

/** One end that sleeps and is woken: at which unit, counted from 0 without a wrap. */
class Sleeper {
  readonly #eventIdx: boolean;
  /** Units after which a place is the same again: one that was asked for long ago is passed once more. */
  readonly #period: number;
  #wants: 'everything' | 'nothing' | number;

  constructor({ eventIdx, first, unit, driver }: Modelled) {
    this.#eventIdx = eventIdx;
    this.#period = unit === 'chain' ? 0x1_0000 : 2 * driver.device.size;
    this.#wants = eventIdx && first === 'entry 0' ? 0 : 'everything';
  }

  ask(on: boolean, unit: number): void {
    if (!on) this.#wants = 'nothing';
    else this.#wants = this.#eventIdx ? unit : 'everything';
  }

  isWokenBy(from: number, to: number): boolean {
    if (from === to) return false;
    if (typeof this.#wants !== 'number') return this.#wants === 'everything';
    const ahead = (this.#wants - from) % this.#period;
    return (ahead < 0 ? ahead + this.#period : ahead) < to - from;
  }
}

/**
 * Both ends against a model that is a few arrays: whatever the two do in whatever order, each request arrives once, whole and in order, each
 * answer comes back once to the request it belongs to, and each end is woken exactly when it asked for it.
 */
export class RingModel {
  readonly #ring: Modelled;
  readonly #kicks: Sleeper;
  readonly #interrupts: Sleeper;
  readonly #sent: Request[] = [];
  readonly #available: Request[] = [];
  readonly #held: { chain: Chain; request: Request }[] = [];
  /** Popped, and not shown to be used, in the order in which they were: popped with IN_ORDER, finished without. */
  readonly #unused: Request[] = [];
  readonly #used: Request[] = [];
  /** How many units ever were published, popped, used and received. */
  #published = 0;
  #popped = 0;
  #usedCount = 0;
  #received = 0;
  /** Descriptors that the driver does not have. */
  #taken = 0;
  #answered = false;
  #seed = 0;

  constructor(ring: Modelled) {
    this.#ring = ring;
    this.#kicks = new Sleeper(ring);
    this.#interrupts = new Sleeper(ring);
  }

  step(step: Step): void {
    this[step.act](step);
    const { device, driver } = this.#ring;
    assert.equal(device.inFlight, this.#held.length);
    assert.equal(driver.queue.free, driver.device.size - this.#taken);
    this.#ring.check(this.#published, this.#popped, this.#usedCount);
  }

  /** Lets everything that is under way come to its end. */
  finish(): void {
    const step = { readable: [], writable: [], choice: 0, on: true };
    this.step({ ...step, act: 'publish' });
    while (this.#available.length > 0) this.step({ ...step, act: 'pop' });
    while (this.#held.length > 0) this.step({ ...step, act: 'push' });
    this.step({ ...step, act: 'answer' });
    while (this.#used.length > 0) this.step({ ...step, act: 'receive' });
    assert.equal(this.#ring.driver.receive(), undefined);
    assert.equal(this.#ring.device.pop(), undefined);
    assert.equal(this.#taken, 0);
  }

  #units({ cost }: Request): number {
    return this.#ring.unit === 'chain' ? 1 : cost;
  }

  send({ readable, writable }: Step): void {
    const { driver, indirect } = this.#ring;
    const { size } = driver.device;
    const count = readable.length + writable.length;
    if (count === 0 || count > size) return;
    const cost = indirect && count > 1 ? 1 : count;
    const pieces = readable.map((length) => Uint8Array.from({ length }, () => this.#seed++));
    const fits = cost <= size - this.#taken;
    assert.equal(driver.send(pieces, writable), fits);
    if (!fits) return;
    this.#taken += cost;
    const message = Uint8Array.from(pieces.flatMap((piece) => [...piece]));
    const room = writable.reduce((a, b) => a + b, 0);
    this.#sent.push({ message, room, cost, answer: new Uint8Array(), finished: false });
  }

  publish(): void {
    const from = this.#published;
    for (const request of this.#sent) this.#published += this.#units(request);
    this.#available.push(...this.#sent.splice(0));
    assert.equal(this.#ring.driver.publish(), this.#kicks.isWokenBy(from, this.#published), 'kick');
  }

  pop({ choice }: Step): void {
    const { device, inOrder } = this.#ring;
    assert.equal(device.waiting, this.#available.length > 0);
    const chain = device.pop();
    const request = this.#available.shift();
    assert.equal(chain === undefined, request === undefined);
    if (chain === undefined || request === undefined) return;
    this.#popped += this.#units(request);
    assert.deepEqual([chain.readable, chain.writable], [request.message.length, request.room]);
    // In two reads, cut anywhere.
    const first = new Uint8Array(choice % (chain.readable + 1));
    assert.equal(chain.read(first), first.length);
    assert.deepEqual(Uint8Array.from([...first, ...chain.readRest()]), request.message);
    this.#held.push({ chain, request });
    if (inOrder) this.#unused.push(request);
  }

  push({ choice }: Step): void {
    const [held] = this.#held.splice(choice % Math.max(this.#held.length, 1), 1);
    if (held === undefined) return;
    const { chain, request } = held;
    // Often all of it, which with IN_ORDER makes a batch.
    const length = choice % 3 === 0 ? choice % (request.room + 1) : request.room;
    request.answer = Uint8Array.from({ length }, () => this.#seed++);
    const cut = choice % 7;
    const done = chain.write(request.answer.subarray(0, cut)) + chain.write(request.answer.subarray(cut));
    assert.equal(done, request.answer.length);
    this.#ring.device.push(chain);
    request.finished = true;
    if (!this.#ring.inOrder) this.#unused.push(request);
  }

  /** The device publishes. */
  answer(): void {
    const from = this.#usedCount;
    while (this.#unused[0]?.finished === true) {
      const request = this.#unused.shift()!;
      this.#usedCount += this.#units(request);
      this.#used.push(request);
    }
    const first = !this.#answered && this.#usedCount > from;
    if (first) this.#answered = true;
    const owed = first && this.#ring.eventIdx && this.#ring.owed();
    const woken = owed || this.#interrupts.isWokenBy(from, this.#usedCount);
    assert.equal(this.#ring.device.publish(), woken, 'interrupt');
  }

  receive(): void {
    const answer = this.#ring.driver.receive();
    const request = this.#used.shift();
    assert.deepEqual(answer?.bytes, request?.answer);
    if (request === undefined) return;
    this.#received += this.#units(request);
    this.#taken -= request.cost;
  }

  kicks({ on }: Step): void {
    const { device } = this.#ring;
    this.#kicks.ask(on, this.#popped);
    if (on) assert.equal(device.enableKicks(), this.#available.length > 0);
    else device.disableKicks();
  }

  interrupts({ on }: Step): void {
    const { queue } = this.#ring.driver;
    if (!on) {
      queue.disableInterrupts();
      this.#interrupts.ask(false, 0);
      return;
    }
    const more = this.#used.length > 0;
    assert.equal(queue.enableInterrupts(), more);
    // In the middle of a batch nothing is asked for: the driver knows that there is more.
    if (more && this.#ring.inOrder) {
      while (this.#used.length > 0) this.receive();
      assert.equal(queue.enableInterrupts(), false);
    }
    this.#interrupts.ask(true, this.#received);
  }
}
