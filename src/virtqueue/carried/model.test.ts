import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { GuestAddress } from '../../memory/address.js';
import type { DistantMemory } from '../../memory/distant-memory.js';
import { GuestMemory } from '../../memory/guest-memory.js';
import { MappedView } from '../../memory/mapped-view.js';
import type { Chain } from '../chain.js';
import { PackedCarriedRing } from '../packed/carried.js';
import { SplitCarriedRing } from '../split/carried.js';
import { PoliteDriver, type SentRequest } from '../testing/polite-driver.js';
import { WatchedView } from '../testing/watched-view.js';
import { CarriedQueue } from './carried-queue.js';

/** A driver's memory that is asked for: what was asked is done when it is told, in any order. */
class SlowMemory implements DistantMemory {
  readonly #memory: GuestMemory;
  readonly #asked: (() => void)[] = [];

  constructor(memory: GuestMemory) {
    this.#memory = memory;
  }

  read(address: GuestAddress, into: Uint8Array, done: (there: boolean) => void): void {
    this.#asked.push(() => {
      this.#memory.read(address, into);
      done(true);
    });
  }

  write(address: GuestAddress, from: Uint8Array, done: (there: boolean) => void): void {
    this.#asked.push(() => {
      this.#memory.write(address, from);
      done(true);
    });
  }

  get idle(): boolean {
    return this.#asked.length === 0;
  }

  /** Nothing of what was asked is done any more. */
  forget(): void {
    this.#asked.length = 0;
  }

  /** Does one thing that was asked. */
  step(choice: number): void {
    const [one] = this.#asked.splice(choice % Math.max(1, this.#asked.length), 1);
    one?.();
  }
}

/** Memory that is there, and can't be touched at once. */
function outOfReach(memory: GuestMemory): GuestMemory {
  const distant = new GuestMemory();
  for (const { start, view } of memory.regions) {
    const before = (): never => assert.fail('the memory was touched at once');
    distant.add({ start, view: new WatchedView(new MappedView(new ArrayBuffer(view.length)), { before }) });
  }
  return distant;
}

interface Options {
  readonly packed: boolean;
  readonly size: number;
  readonly from: number;
  readonly eventIdx: boolean;
  readonly indirect: boolean;
  readonly inOrder: boolean;
}

const options: fc.Arbitrary<Options> = fc.record({
  packed: fc.boolean(),
  size: fc.constantFrom(1, 2, 4, 8),
  from: fc.nat(0xffff),
  eventIdx: fc.boolean(),
  indirect: fc.boolean(),
  inOrder: fc.boolean(),
});

const lengths = fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 3 });
const step = fc.record({
  act: fc.constantFrom(
    'send',
    'publish',
    'memory',
    'memory',
    'memory',
    'memory',
    'pop',
    'push',
    'receive',
    'rest',
    'stop',
  ),
  readable: lengths,
  writable: lengths,
  choice: fc.nat(1000),
});

/** Both ends and the messages between, against arrays. Nobody acts but who was woken: a wakeup that is lost is a request that never ends. */
class World {
  readonly #options: Options;
  readonly #driver: PoliteDriver;
  readonly #memory: SlowMemory;
  readonly #held: { chain: Chain; message: Uint8Array }[] = [];
  readonly #sent: { message: Uint8Array; room: number; request: SentRequest }[] = [];
  #device: CarriedQueue;
  /** Requests in the order in which they were sent, that the device did not take yet; and all that were not answered, by the driver's token. */
  readonly #waiting: { message: Uint8Array; room: number; request: SentRequest }[] = [];
  readonly #answers = new Map<SentRequest, Uint8Array>();
  #taken: SentRequest[] = [];
  #arrived = false;
  #interrupted = true;
  #received = 0;
  #total = 0;

  constructor(made: Options) {
    this.#options = made;
    const { packed, size, from } = made;
    const place = packed ? (from % size) | (from & 0x8000) : from;
    const base = packed ? (place | (place << 16)) >>> 0 : place;
    this.#driver = new PoliteDriver({ ...made, base, bytes: 1 << 16 });
    this.#memory = new SlowMemory(this.#driver.memory);
    this.#device = this.#make(base);
    this.#device.kick();
  }

  #make(base: number): CarriedQueue {
    const ring = { ...this.#driver.device, base, memory: outOfReach(this.#driver.memory) };
    const events = {
      arrived: () => {
        this.#arrived = true;
      },
      interrupt: () => {
        this.#interrupted = true;
      },
      broken: (error: Error) => {
        throw error;
      },
    };
    const Ring = this.#options.packed ? PackedCarriedRing : SplitCarriedRing;
    return new CarriedQueue(ring, this.#memory, events, (ports) => new Ring(ring, this.#memory, ports));
  }

  do({ act, readable, writable, choice }: typeof step extends fc.Arbitrary<infer Step> ? Step : never): void {
    if (act === 'send') this.#send(readable, writable, choice);
    else if (act === 'publish') this.#publish();
    else if (act === 'memory') this.#memory.step(choice);
    else if (act === 'pop') this.#pop(choice);
    else if (act === 'push') this.#push(choice);
    else if (act === 'receive') this.#receive();
    else if (act === 'rest') this.#rest();
    else this.#stop(choice);
    assert.equal(this.#device.inFlight, this.#held.length);
  }

  #send(readable: readonly number[], writable: readonly number[], choice: number): void {
    const count = readable.length + writable.length;
    if (count === 0 || count > this.#options.size) return;
    const pieces = readable.map((length) => Uint8Array.from({ length }, (_, i) => choice + i));
    const request = this.#driver.sent(pieces, writable);
    if (request === undefined) return;
    const message = Uint8Array.from(pieces.flatMap((piece) => [...piece]));
    this.#sent.push({ message, room: writable.reduce((a, b) => a + b, 0), request });
  }

  #publish(): void {
    this.#waiting.push(...this.#sent.splice(0));
    if (this.#driver.publish()) this.#device.kick();
  }

  #pop(choice: number): void {
    if (!this.#arrived) return;
    const chain = this.#device.pop();
    if (chain === undefined) {
      this.#arrived = false;
      return;
    }
    const one = this.#waiting.shift();
    assert.ok(one !== undefined, 'a chain that nobody sent');
    assert.deepEqual([chain.readable, chain.writable], [one.message.length, one.room]);
    assert.deepEqual(chain.readRest(), one.message);
    const answer = Uint8Array.from({ length: choice % (one.room + 1) }, (_, i) => choice - i);
    this.#answers.set(one.request, answer);
    this.#taken.push(one.request);
    this.#held.push({ chain, message: answer });
  }

  #push(choice: number): void {
    const [one] = this.#held.splice(choice % Math.max(1, this.#held.length), 1);
    if (one === undefined) return;
    one.chain.write(one.message);
    this.#device.push(one.chain);
    if (choice % 3 > 0) this.#device.publish();
  }

  #receive(): void {
    if (!this.#interrupted) return;
    const { queue } = this.#driver;
    queue.disableInterrupts();
    for (;;) {
      for (let answer = this.#driver.receive(); answer !== undefined; answer = this.#driver.receive()) {
        assert.deepEqual(answer.bytes, this.#answers.get(answer.request));
        this.#answers.delete(answer.request);
        if (this.#options.inOrder) assert.equal(answer.request, this.#taken[0]);
        this.#taken = this.#taken.filter((request) => request !== answer.request);
        this.#received += 1;
      }
      if (!queue.enableInterrupts()) break;
    }
    this.#interrupted = false;
  }

  /** Lets all messages come to their end. */
  #rest(): void {
    for (let steps = 0; !this.#memory.idle; steps++) {
      assert.ok(steps < 10_000, 'the queue does not come to rest');
      this.#memory.step(steps * 7);
    }
  }

  /** Everything is handed back, and another queue goes on from where this one was. */
  #stop(choice: number): void {
    if (choice % 5 > 0) return;
    for (const { chain, message } of this.#held.splice(0)) {
      chain.write(message);
      this.#device.push(chain);
    }
    let returned = false;
    this.#device.whenReturned(() => {
      returned = true;
    });
    // It may be in the middle of fetching what comes next.
    for (let steps = 0; !returned; steps++) {
      assert.ok(!this.#memory.idle, 'what was handed back does not get there');
      this.#memory.step(steps * 7);
    }
    const { base } = this.#device;
    this.#device.close();
    this.#memory.forget();
    this.#silence(base);
    this.#arrived = false;
    this.#device = this.#make(base);
    this.#device.kick();
    // As whoever starts a device on rings that were at work.
    this.#interrupted = true;
  }

  /** Leaves the ring as a device that looked at it instead of waiting for kicks. */
  #silence(base: number): void {
    const { packed, eventIdx, size } = this.#options;
    const { memory, deviceArea } = this.#driver.device;
    const [offset, value] = packed ? [2, 1] : eventIdx ? [4 + 8 * size, (base - 1) & 0xffff] : [0, 1];
    memory.write((deviceArea + offset) as GuestAddress, Uint8Array.of(value & 0xff, value >>> 8));
  }

  /** Lets everything that is under way come to its end, nobody doing anything unless he was woken. */
  finish(): void {
    this.#total = this.#received + this.#answers.size + this.#waiting.length + this.#sent.length;
    this.#publish();
    for (let turns = 0; this.#received < this.#total; turns++) {
      assert.ok(turns < 1000, `nobody is awake, with ${this.#received} of ${this.#total} answered`);
      this.#rest();
      for (let i = 0; i < 10 && this.#arrived; i++) this.#pop(turns + i);
      while (this.#held.length > 0) this.#push(turns);
      this.#device.publish();
      this.#rest();
      this.#receive();
    }
    this.#rest();
    assert.equal(this.#device.inFlight, 0);
    assert.equal(this.#driver.receive(), undefined);
  }
}

test('2.7.13, 2.8.21: a queue whose memory is asked for, answered in any order: each request once, whole and in order, no wakeup lost, stopped and gone on with anywhere', () => {
  fc.assert(
    fc.property(options, fc.array(step, { minLength: 20, maxLength: 200, size: 'max' }), (made, steps) => {
      const world = new World(made);
      for (const one of steps) world.do(one);
      world.finish();
    }),
    { numRuns: 400 },
  );
});
