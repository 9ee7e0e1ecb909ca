import type { GuestAddress } from '../../memory/address.js';
import type { DistantMemory } from '../../memory/distant-memory.js';
import { GuestMemory } from '../../memory/guest-memory.js';
import { MappedView } from '../../memory/mapped-view.js';
import type { MemoryView } from '../../memory/memory-view.js';
import type { Chain } from '../chain.js';
import type { DeviceQueueOptions } from '../device-queue-options.js';
import { HeldChain } from '../held-chain.js';
import { rangeText } from '../indirect-table.js';
import type { Virtqueue } from '../virtqueue.js';
import { VirtqueueError } from '../virtqueue-error.js';
import type { CarriedRing, Named } from './carried-ring.js';
import type { Crossing, Segments } from './crossing.js';
import type { AreaEvents } from './distant-areas.js';
import { TableWanted } from './table-wanted.js';

/** What a carried queue tells whoever runs its device. */
export interface CarriedQueueEvents {
  /** There is something to pop. */
  arrived(): void;
  /** The driver wants to be interrupted for what it got back. */
  interrupt(): void;
  /** The driver broke a rule, or took away the memory: nothing more can be had from this queue. */
  broken(error: VirtqueueError): void;
}

/** Bytes of chains that are kept here: those of a chain, and of all that are in flight when another is fetched. */
const BYTES_MOST = 64 * 2 ** 20;
/** What is kept for each descriptor beside its bytes. */
const SEGMENT_COST = 64;

/** An indirect table that was fetched. */
interface FetchedTable {
  readonly address: GuestAddress;
  readonly length: number;
  readonly view: MemoryView;
}

/**
 * The device's end of a virtqueue whose ring or buffers are in distant memory. It fetches a chain with all that the device may read of it
 * before the device sees it, and takes back what the device wrote before the driver sees that: in between, the device works on a copy, and
 * nobody ever waits. The driver may be hostile, as in the queues over memory that is shared: each field is fetched once, checked and used.
 */
export class CarriedQueue implements Virtqueue {
  readonly size: number;
  readonly #inOrder: boolean;
  readonly #distant: DistantMemory;
  readonly #events: CarriedQueueEvents;
  readonly #ring: CarriedRing;

  /** In flight, by head; until the driver may use the head again. */
  readonly #crossings = new Map<number, Crossing>();
  /** What is still to be fetched for chains that were walked. */
  #wanted: [Crossing, Segments][] = [];
  /** Those, oldest first; then they are ready. */
  #loading: Crossing[] = [];
  #ready: Crossing[] = [];
  #done: Crossing[] = [];
  /** With IN_ORDER: those that were popped and not done with, oldest first. */
  #order: Crossing[] = [];
  #inFlight = 0;
  #bytes = 0;

  #looking = false;
  #again = false;
  /** Waits for chains to be given back. */
  #full = false;
  #returning = false;
  #returned: (() => void) | undefined;
  #closed = false;
  #suspended = false;
  #broken: VirtqueueError | undefined;

  /**
   * @param makeRing - makes the ring of its layout.
   * @throws what that throws.
   */
  constructor(
    { size, inOrder }: DeviceQueueOptions,
    distant: DistantMemory,
    events: CarriedQueueEvents,
    makeRing: (events: AreaEvents) => CarriedRing,
  ) {
    this.size = size;
    this.#inOrder = inOrder === true;
    this.#distant = distant;
    this.#events = events;
    const over = (): boolean => this.#over;
    this.#ring = makeRing({
      get over() {
        return over();
      },
      fail: (error) => this.#break(error),
    });
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  get base(): number {
    return this.#ring.base(this.#ready[0] ?? this.#loading[0]);
  }

  get waiting(): boolean {
    return this.#ready.length > 0;
  }

  get remote(): boolean {
    return true;
  }

  get reachable(): boolean {
    return true;
  }

  /** Calls back as soon as all that was handed back is with the driver: at once when it is, or nothing can be any more. */
  whenReturned(done: () => void): void {
    this.publish();
    if (this.#over || !this.#returning) done();
    else this.#returned = done;
  }

  /** The driver kicked, or may have meant to: looks for chains, which arrive later. */
  kick(): void {
    if (this.#over) return;
    this.#again = true;
    if (this.#looking || this.#full) return;
    this.#looking = true;
    if (this.#ring.begun) this.#look();
    else this.#ring.begin(() => this.#look());
  }

  pop(): Chain | undefined {
    if (this.#broken !== undefined) throw this.#broken;
    if (this.#suspended) return undefined;
    const crossing = this.#ready.shift();
    if (crossing === undefined) return undefined;
    this.#inFlight += 1;
    if (this.#inOrder) this.#order.push(crossing);
    crossing.chain.start();
    return crossing.chain;
  }

  serialOf(head: number): number | undefined {
    return this.#ring.serialOf(head);
  }

  isOut(head: number, serial: number): boolean | undefined {
    return this.#ring.isOut(head, serial);
  }

  owns(chain: Chain): boolean {
    return this.#crossings.get(chain.head)?.chain === chain;
  }

  push(chain: Chain): void {
    const crossing = this.#crossings.get(chain.head);
    if (crossing?.chain !== chain || !crossing.chain.inFlight) {
      throw new TypeError(`chain ${chain.head} is not in flight on this queue`);
    }
    crossing.written = chain.written;
    crossing.chain.end();
    this.#inFlight -= 1;
    crossing.finished = true;
    if (!this.#inOrder) this.#done.push(crossing);
    else while (this.#order[0]?.finished === true) this.#done.push(this.#order.shift()!);
  }

  /** @returns `false`: an interrupt comes as an event, when the driver has everything. */
  publish(): boolean {
    if (this.#done.length > 0 && !this.#returning && !this.#over) {
      this.#returning = true;
      this.#giveBack();
    }
    return false;
  }

  /** Nothing: what a driver may do without is a kick a batch, and to tell it so is a message. */
  disableKicks(): void {}

  enableKicks(): boolean {
    return this.#broken !== undefined || this.#ready.length > 0;
  }

  /** The device works on copies, and distant memory holds back what it is asked for: nothing starves. */
  suspend(): void {
    this.#suspended = true;
  }

  resume(): void {
    this.#suspended = false;
  }

  isStarved(): boolean {
    return false;
  }

  get lastStarved(): undefined {
    return undefined;
  }

  rewind(chain: Chain): void {
    this.#crossings.get(chain.head)?.chain.start();
  }

  close(): void {
    this.#closed = true;
    for (const { chain } of this.#crossings.values()) if (chain.inFlight) chain.lose();
    this.#crossings.clear();
    this.#loading = [];
    this.#ready = [];
    this.#done = [];
    this.#order = [];
    this.#inFlight = 0;
    this.#tellReturned();
  }

  get #over(): boolean {
    return this.#closed || this.#broken !== undefined;
  }

  #look(): void {
    this.#again = false;
    this.#ring.look((any) => {
      if (any) this.#walk();
      else this.#rest();
    });
  }

  /** Nothing is there: the driver is told to kick for the next one, and looked at once more. */
  #rest(): void {
    if (this.#ring.askForKicks(() => this.#look())) return;
    if (this.#again) this.#look();
    else this.#looking = false;
  }

  /** Walks the chains that were found, as far as there is room for them, then fetches what they hold. */
  #walk(table?: FetchedTable): void {
    let known = table;
    const isHeld = (head: number): boolean => this.#crossings.has(head);
    try {
      for (;;) {
        const named = this.#ring.next(isHeld, (address, length) => {
          if (known?.address !== address || known.length !== length) throw new TableWanted(address, length);
          return known.view;
        });
        if (named === undefined) break;
        const crossing = this.#cross(named);
        if (crossing === undefined) break;
        known = undefined;
        this.#ring.take(named);
        this.#loading.push(crossing);
      }
    } catch (error) {
      if (error instanceof TableWanted) this.#fetchTable(error);
      else if (error instanceof VirtqueueError) this.#break(error);
      else throw error;
      return;
    }
    this.#load();
  }

  #fetchTable({ address, length }: TableWanted): void {
    const bytes = new Uint8Array(length);
    this.#distant.read(address, bytes, (there) => {
      if (this.#over) return;
      if (there) this.#walk({ address, length, view: new MappedView(bytes.buffer) });
      else {
        const text = `indirect table: ${rangeText(address, length)}`;
        this.#fail('INDIRECT_UNMAPPED', this.#ring.sections.indirect, text);
      }
    });
  }

  /** Takes a chain up; `undefined` when it has to wait until others are given back. */
  #cross({ chain: named, place, count }: Named): Crossing | undefined {
    const { head, readable } = named;
    const length = readable + named.writable;
    if (length > BYTES_MOST) {
      const text = `chain ${head} has ${length} bytes, more than the ${BYTES_MOST} that are carried for a driver whose memory is not shared`;
      throw new VirtqueueError('CHAIN_BYTES', this.#ring.sections.buffer, text);
    }
    const cost = length + named.segments * SEGMENT_COST;
    if (this.#bytes > 0 && this.#bytes + cost > BYTES_MOST) return undefined;
    this.#bytes += cost;
    const bytes = new Uint8Array(length);
    const copy = new GuestMemory();
    if (length > 0) copy.add({ start: 0 as GuestAddress, view: new MappedView(bytes.buffer) });
    const chain = new HeldChain(copy, head);
    chain.lay(readable, named.writable);
    const writable = named.segmentsOf(true);
    const crossing = {
      head,
      place,
      count,
      chain,
      bytes,
      readable,
      writable,
      cost,
      written: 0,
      finished: false,
    };
    this.#crossings.set(head, crossing);
    this.#wanted.push([crossing, named.segmentsOf(false)]);
    return crossing;
  }

  #load(): void {
    let waiting = 1;
    const arrived = (there: boolean): void => {
      if (this.#over) return;
      if (!there) {
        this.#fail('BUFFER_UNMAPPED', this.#ring.sections.buffer, 'a buffer to be read can not be had');
        return;
      }
      waiting -= 1;
      if (waiting > 0) return;
      const fetched = this.#loading.splice(0);
      this.#ready.push(...fetched);
      if (fetched.length > 0) this.#events.arrived();
      if (this.#over) return;
      // None fitted: looked at again when one is given back.
      if (fetched.length === 0) {
        this.#full = true;
        this.#looking = false;
      } else if (this.#ring.more) this.#look();
      else this.#rest();
    };
    for (const [{ bytes }, segments] of this.#wanted.splice(0)) {
      let at = 0;
      for (const { address, length } of segments) {
        waiting += 1;
        this.#distant.read(address, bytes.subarray(at, at + length), arrived);
        at += length;
      }
    }
    arrived(true);
  }

  /** What the device wrote goes first, and when it is there, that it is used. */
  #giveBack(): void {
    const done = this.#done.splice(0);
    let waiting = 1;
    const written = (there: boolean): void => {
      if (this.#over) return;
      if (!there) {
        this.#fail('BUFFER_UNMAPPED', this.#ring.sections.buffer, 'a buffer to be written can not be had');
        return;
      }
      waiting -= 1;
      if (waiting === 0) this.#giveUsed(done);
    };
    for (const { bytes, readable, writable, written: total } of done) {
      let at = 0;
      for (const { address, length } of writable) {
        const size = Math.min(length, total - at);
        if (size <= 0) break;
        waiting += 1;
        this.#distant.write(address, bytes.subarray(readable + at, readable + at + size), written);
        at += size;
      }
    }
    written(true);
  }

  #giveUsed(done: readonly Crossing[]): void {
    for (const { head, cost } of done) {
      // As soon as it is seen to be used the driver may use it again, and we may hear of that first.
      this.#crossings.delete(head);
      this.#bytes -= cost;
    }
    this.#ring.give(done, (wanted) => {
      if (wanted) this.#events.interrupt();
      if (this.#over) return;
      this.#returning = false;
      this.publish();
      if (!this.#returning) this.#tellReturned();
      if (!this.#full) return;
      this.#full = false;
      this.kick();
    });
  }

  #tellReturned(): void {
    const returned = this.#returned;
    this.#returned = undefined;
    returned?.();
  }

  #fail(code: string, section: string, text: string): void {
    this.#break(new VirtqueueError(code, section, text));
  }

  #break(error: VirtqueueError): void {
    this.#broken = error;
    this.#events.broken(error);
    this.#tellReturned();
  }
}
