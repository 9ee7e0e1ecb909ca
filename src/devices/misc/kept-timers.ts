import type { DeviceHost, DeviceQueue } from '../../virtio/device.js';
import { StateError } from '../../virtio/saved-state.js';
import { MAX_QUEUE_SIZE } from '../../virtqueue/split/layout.js';
import { IdTable } from './id-table.js';
import { KeptSlots, SLOT } from './kept-slots.js';

/*
 * Timers in memory that outlives the process, so that each request is carried out once and each timer told of once, whenever the process dies. It may
 * die after any store: each leaves something that says what is true.
 *
 * A request is known by its head and serial number, which it still has when the next process is given it anew. For each head there is the answer to the
 * last request that was carried out, and that one's serial number. What a request does (arm this slot, free that one) and its answer are one
 * step: `op` says what is being done, and whoever finds it does it to its end.
 *
 * A timer that is told of is `out` from before the driver can see it until it is known that it did: then its slot is free, or armed anew. Whoever
 * finds one that is out asks the queue whether the driver has that buffer back, and tells of it anew if not.
 */

/** By words: whether it counts; how many slots were ever used; what is being done, of which slot, for whom. */
const HEADER = { begun: 0, used: 1, op: 2, slot: 3, head: 4, serial: 5, bytes: 24 } as const;
const OP = { none: 0, arm: 1, free: 2 } as const;

/** For each head: le32 status, le32 serial number. */
const ANSWER_BYTES = 8;

/** Armed with one deadline or the other, or out: then the other one is the next, if there is a next. */
const STATE = { free: 0, armedA: 1, armedB: 2, outA: 3, outB: 4 } as const;

/** A timer to go on with. */
export type Arm = (id: number, deadline: number, interval: number) => void;

/** What is kept of timers, and of requests that were carried out. */
export class KeptTimers {
  /** Of what is the first to be had: if that is not kept, nothing need be. */
  static readonly headerBytes: number = HEADER.bytes;
  readonly #header: Int32Array;
  readonly #answers: Int32Array;
  readonly #slots: KeptSlots;
  /** Its slot + 1 for each id that is armed. */
  readonly #slotOf = new IdTable();
  #used = 0;
  #order = 0;
  /** The request that is being carried out; without a serial number, no process is given it twice. */
  #head = 0;
  #serial = 0;
  /** Slots whose timers the driver is told of. */
  #out = new Uint32Array(64);
  #outCount = 0;
  /** An earlier process left something that is not gone on with yet. */
  #left = false;

  /** @throws OsError when there is no memory to be had. */
  constructor(host: DeviceHost) {
    const header = host.durable('timers.1', HEADER.bytes);
    this.#header = header.view.words!;
    this.#answers = host.durable('answers.1', ANSWER_BYTES * MAX_QUEUE_SIZE).view.words!;
    this.#slots = new KeptSlots(host);
    if (this.#header[HEADER.begun] === 0) return;
    this.#left = true;
    this.#used = this.#header[HEADER.used]! >>> 0;
    this.#slots.reach(this.#used);
  }

  /** Whether somebody left what is to be gone on with. */
  get left(): boolean {
    return this.#left;
  }

  /** Whether the driver is being told of a timer. */
  get anyOut(): boolean {
    return this.#outCount > 0;
  }

  /**
   * Goes on with what was left.
   *
   * @param arm - given all timers, those that are due at once in the order in which they were armed.
   * @returns `false` when it is not known yet which of them the driver was told of: then nothing was done, and nothing may be.
   */
  goOn(notifyq: DeviceQueue, arm: Arm): boolean {
    for (let slot = 0; slot < this.#used; slot++) {
      const isOut = this.#slots.get(slot, SLOT.state) >= STATE.outA;
      if (isOut && this.#isOut(slot, notifyq) === undefined) return false;
    }
    this.#finish();
    const slots = this.#slots;
    for (let slot = 0; slot < this.#used; slot++)
      this.#order = Math.max(this.#order, slots.get(slot, SLOT.order) >>> 0);
    // By the order in which they were armed, and below that which slot it is.
    const found = new BigUint64Array(this.#used);
    const halves = new Uint32Array(found.buffer);
    let count = 0;
    for (let slot = 0; slot < this.#used; slot++) {
      this.#settleLeft(slot, notifyq);
      if (slots.get(slot, SLOT.state) === STATE.free) {
        slots.release(slot);
        continue;
      }
      halves[2 * count] = slot;
      halves[2 * count + 1] = slots.get(slot, SLOT.order);
      count += 1;
    }
    this.#left = false;
    found.subarray(0, count).sort();
    for (let i = 0; i < count; i++) {
      const slot = halves[2 * i]!;
      const id = slots.get(slot, SLOT.id);
      // The driver took an id anew before it could know that it was free.
      if (!this.#slotOf.add(id, slot + 1)) this.#free(slot);
      else arm(id >>> 0, this.#deadline(slot), slots.getDouble(slot, SLOT.interval));
    }
    return true;
  }

  /** Begins with timers that come from elsewhere, all of them or, until it is through, none. */
  begin(each: (arm: Arm) => void): void {
    each((id, deadline, interval) => {
      this.#slots.reach(this.#used + 1);
      this.#fill(this.#used, id, deadline, interval);
      this.#slots.put(this.#used, SLOT.state, STATE.armedA);
      this.#used += 1;
      this.#slotOf.add(id | 0, this.#used);
    });
    this.#header[HEADER.used] = this.#used;
    this.#header[HEADER.begun] = 1;
  }

  /** A request is about to be carried out. @returns its answer, if it was. */
  asked(head: number, serial: number | undefined): number | undefined {
    this.#head = head;
    this.#serial = serial ?? 0;
    const at = 2 * head;
    return serial !== undefined && this.#answers[at + 1] === (serial | 0) ? this.#answers[at] : undefined;
  }

  /** It led to nothing but an answer. */
  answered(status: number): void {
    if (this.#serial === 0) return;
    this.#answers[2 * this.#head] = status;
    this.#answers[2 * this.#head + 1] = this.#serial;
  }

  /** It armed a timer, of an id that has none. @throws OsError when there is no memory to be had; then it did not. */
  armed(id: number, deadline: number, interval: number, status: number): void {
    let slot = this.#slots.take();
    if (slot < 0) {
      slot = this.#used;
      this.#slots.reach(slot + 1);
      // Somebody may have died who was about to begin.
      this.#slots.put(slot, SLOT.state, STATE.free);
      this.#used += 1;
      this.#header[HEADER.used] = this.#used;
    }
    this.#fill(slot, id, deadline, interval);
    this.#slotOf.add(id | 0, slot + 1);
    this.#begin(OP.arm, slot, status);
    this.#slots.put(slot, SLOT.state, STATE.armedA);
    this.#end();
  }

  /** It cancelled a timer. */
  cancelled(id: number, status: number): void {
    const slot = (this.#slotOf.get(id | 0) - 1) >>> 0;
    this.#slotOf.delete(id | 0);
    this.#begin(OP.free, slot, status);
    this.#free(slot);
    this.#end();
  }

  /**
   * The driver is about to be told of a timer.
   *
   * @param next - its next deadline, of a periodic one.
   * @param head - of the buffer that tells of it, and its serial number.
   */
  out(id: number, next: number | undefined, head: number, serial: number | undefined): void {
    const slots = this.#slots;
    const slot = (this.#slotOf.get(id | 0) - 1) >>> 0;
    const isA = slots.get(slot, SLOT.state) === STATE.armedA;
    if (next === undefined) this.#slotOf.delete(id | 0);
    else slots.putDouble(slot, isA ? SLOT.deadlineB : SLOT.deadlineA, next);
    slots.put(slot, SLOT.serial, serial ?? 0);
    slots.put(slot, SLOT.head, head);
    slots.put(slot, SLOT.state, isA ? STATE.outA : STATE.outB);
    if (this.#outCount === this.#out.length) {
      const more = new Uint32Array(2 * this.#outCount);
      more.set(this.#out);
      this.#out = more;
    }
    this.#out[this.#outCount] = slot;
    this.#outCount += 1;
  }

  /** Looks which of those the driver was told of. The others are looked at again later. */
  settle(notifyq: DeviceQueue): void {
    let count = 0;
    for (let i = 0; i < this.#outCount; i++) {
      const slot = this.#out[i]!;
      if (this.#isOut(slot, notifyq) !== false) {
        this.#out[count] = slot;
        count += 1;
      } else this.#told(slot);
    }
    this.#outCount = count;
  }

  /** @throws StateError while it is not known what there is. */
  checkKnown(): void {
    if (this.#left) throw new StateError('it is not known yet which timers the driver was told of');
  }

  #fill(slot: number, id: number, deadline: number, interval: number): void {
    const slots = this.#slots;
    this.#order = (this.#order + 1) >>> 0;
    slots.put(slot, SLOT.id, id | 0);
    slots.putDouble(slot, SLOT.deadlineA, deadline);
    slots.putDouble(slot, SLOT.interval, interval);
    slots.put(slot, SLOT.order, this.#order | 0);
  }

  /** From the last store here on, it is done. */
  #begin(op: number, slot: number, status: number): void {
    if (this.#serial === 0) return;
    const header = this.#header;
    this.#answers[2 * this.#head] = status;
    header[HEADER.slot] = slot;
    header[HEADER.head] = this.#head;
    header[HEADER.serial] = this.#serial;
    header[HEADER.op] = op;
  }

  #end(): void {
    if (this.#serial === 0) return;
    this.#answers[2 * this.#head + 1] = this.#serial;
    this.#header[HEADER.op] = OP.none;
  }

  /** Does to its end what an earlier process was doing. */
  #finish(): void {
    const header = this.#header;
    const op = header[HEADER.op];
    if (op === OP.none) return;
    const state = op === OP.arm ? STATE.armedA : STATE.free;
    this.#slots.put(header[HEADER.slot]! >>> 0, SLOT.state, state);
    this.#answers[2 * header[HEADER.head]! + 1] = header[HEADER.serial]!;
    header[HEADER.op] = OP.none;
  }

  /** One that an earlier process left out: the driver was told of it, or will be. */
  #settleLeft(slot: number, notifyq: DeviceQueue): void {
    const state = this.#slots.get(slot, SLOT.state);
    if (state < STATE.outA) return;
    if (!this.#isOut(slot, notifyq)) this.#told(slot);
    else this.#slots.put(slot, SLOT.state, state === STATE.outA ? STATE.armedA : STATE.armedB);
  }

  #isOut(slot: number, notifyq: DeviceQueue): boolean | undefined {
    return notifyq.isOut(this.#slots.get(slot, SLOT.head), this.#slots.get(slot, SLOT.serial) >>> 0);
  }

  /** The driver was told of it. */
  #told(slot: number): void {
    const slots = this.#slots;
    if (slots.getDouble(slot, SLOT.interval) === 0) {
      this.#free(slot);
      return;
    }
    this.#order = (this.#order + 1) >>> 0;
    slots.put(slot, SLOT.order, this.#order | 0);
    slots.put(slot, SLOT.state, slots.get(slot, SLOT.state) === STATE.outA ? STATE.armedB : STATE.armedA);
  }

  #free(slot: number): void {
    this.#slots.put(slot, SLOT.state, STATE.free);
    if (!this.#left) this.#slots.release(slot);
  }

  #deadline(slot: number): number {
    const isA = this.#slots.get(slot, SLOT.state) === STATE.armedA;
    return this.#slots.getDouble(slot, isA ? SLOT.deadlineA : SLOT.deadlineB);
  }
}
