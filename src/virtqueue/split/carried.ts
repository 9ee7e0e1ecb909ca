import type { GuestAddress } from '../../memory/address.js';
import type { DistantMemory } from '../../memory/distant-memory.js';
import { GuestMemory } from '../../memory/guest-memory.js';
import { MappedView } from '../../memory/mapped-view.js';
import type { MemoryView } from '../../memory/memory-view.js';
import type { Chain } from '../chain.js';
import type { DeviceQueueOptions } from '../device-queue-options.js';
import { passesEvent } from '../event-index.js';
import { HeldChain } from '../held-chain.js';
import type { Virtqueue } from '../virtqueue.js';
import { VirtqueueError } from '../virtqueue-error.js';
import {
  AREA_ALIGNMENT,
  availEventOffset,
  descriptorAreaSize,
  deviceAreaSize,
  driverAreaSize,
  isQueueSize,
  usedEventOffset,
  VIRTQ_AVAIL,
  VIRTQ_AVAIL_F_NO_INTERRUPT,
  VIRTQ_USED,
  VIRTQ_USED_ELEM,
  VIRTQ_USED_ELEM_SIZE,
} from './layout.js';
import { walkChain } from './walk.js';

/** What a carried queue tells whoever runs its device. */
export interface CarriedQueueEvents {
  /** There is something to pop. */
  arrived(): void;
  /** The driver wants to be interrupted for what it got back. */
  interrupt(): void;
  /** The driver broke a rule, or took away the memory: nothing more can be had from this queue. */
  broken(error: VirtqueueError): void;
}

/** Chains that are fetched at once. */
const BATCH = 64;
/** Bytes of chains that are kept here: those of a chain, and of all that are in flight when another is fetched. */
const BYTES_MOST = 64 * 2 ** 20;
/** What is kept for each descriptor beside its bytes. */
const SEGMENT_COST = 64;

interface Segment {
  readonly address: GuestAddress;
  readonly length: number;
}

/** A chain on its way. */
interface Crossing {
  readonly head: number;
  /** What the device sees: a copy. */
  readonly chain: HeldChain;
  readonly bytes: Uint8Array;
  readonly readable: number;
  /** Where the device-writable bytes go. */
  readonly writable: readonly Segment[];
  /** Bytes that it takes here. */
  readonly cost: number;
  written: number;
  finished: boolean;
}

/** A walk came upon an indirect table that is not here. */
class TableWanted {
  readonly address: GuestAddress;
  readonly length: number;

  constructor(address: GuestAddress, length: number) {
    this.address = address;
    this.length = length;
  }
}

/**
 * The device's end of a split virtqueue (VIRTIO 1.3 §2.7) whose ring or buffers are in distant memory. It fetches a chain with all that the
 * device may read of it before the device sees it, and takes back what the device wrote before the driver sees that: in between, the device
 * works on a copy, and nobody ever waits. The driver may be hostile, as in `SplitDeviceQueue`: each field is fetched once, checked and used.
 */
export class CarriedQueue implements Virtqueue {
  readonly size: number;
  readonly #options: DeviceQueueOptions;
  readonly #distant: DistantMemory;
  readonly #events: CarriedQueueEvents;
  readonly #mask: number;

  /** In flight, by head; until the driver may use the head again. */
  readonly #crossings = new Map<number, Crossing>();
  /** What is still to be fetched for chains that were walked. */
  #wanted: [Crossing, readonly Segment[]][] = [];
  #ready: Crossing[] = [];
  #done: Crossing[] = [];
  /** With IN_ORDER: those that were popped and not done with, oldest first. */
  #order: Crossing[] = [];
  #inFlight = 0;
  #bytes = 0;

  #nextAvail: number;
  #nextUsed = 0;
  /** The used index as the driver sees it. */
  #published = 0;
  /** The available index as last read. */
  #seenIdx = -1;
  #started = false;
  #looking = false;
  #again = false;
  /** Waits for chains to be given back. */
  #full = false;
  #returning = false;
  #returned: (() => void) | undefined;
  /** What the driver was last told to kick for. */
  #eventAt = -1;
  #closed = false;
  #suspended = false;
  #broken: VirtqueueError | undefined;

  /** @throws VirtqueueError as `SplitDeviceQueue` does; a used index that can't be is found later. */
  constructor(options: DeviceQueueOptions, distant: DistantMemory, events: CarriedQueueEvents) {
    const { size, memory, base } = options;
    if (!isQueueSize(size)) {
      throw new VirtqueueError('QUEUE_SIZE', '2.7', `queue size ${size} is no power of two in 1..32768`);
    }
    for (const [name, address, length] of [
      ['descriptor', options.descriptorArea, descriptorAreaSize(size)],
      ['driver', options.driverArea, driverAreaSize(size)],
      ['device', options.deviceArea, deviceAreaSize(size)],
    ] as const) {
      if (!memory.covers(address, length)) {
        throw new VirtqueueError('AREA_UNMAPPED', '2.7', `${name} area: ${range(address, length)}`);
      }
      if (address % AREA_ALIGNMENT[name] !== 0) {
        const text = `${name} area 0x${address.toString(16)} is not aligned to ${AREA_ALIGNMENT[name]} bytes`;
        throw new VirtqueueError('AREA_ALIGNMENT', '2.7', text);
      }
    }
    this.size = size;
    this.#options = options;
    this.#distant = distant;
    this.#events = events;
    this.#mask = size - 1;
    this.#nextAvail = base;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  get base(): number {
    return (this.#nextAvail - this.#ready.length) & 0xffff;
  }

  /** Calls back as soon as all that was handed back is with the driver: at once when it is, or nothing can be any more. */
  whenReturned(done: () => void): void {
    this.publish();
    if (this.#over || !this.#returning) done();
    else this.#returned = done;
  }

  get waiting(): boolean {
    return this.#ready.length > 0;
  }

  get remote(): boolean {
    return true;
  }

  /** The driver kicked, or may have meant to: looks for chains, which arrive later. */
  kick(): void {
    if (this.#over) return;
    this.#again = true;
    if (this.#looking || this.#full) return;
    this.#looking = true;
    this.#look();
  }

  pop(): Chain | undefined {
    if (this.#broken !== undefined) throw this.#broken;
    if (this.#suspended) return undefined;
    const crossing = this.#ready.shift();
    if (crossing === undefined) return undefined;
    this.#inFlight += 1;
    if (this.#options.inOrder === true) this.#order.push(crossing);
    crossing.chain.start();
    return crossing.chain;
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
    if (this.#options.inOrder !== true) this.#done.push(crossing);
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
    for (const { chain } of this.#crossings.values()) if (chain.inFlight) chain.end();
    this.#crossings.clear();
    this.#ready = [];
    this.#done = [];
    this.#order = [];
    this.#inFlight = 0;
    this.#tellReturned();
  }

  get #over(): boolean {
    return this.#closed || this.#broken !== undefined;
  }

  /** Asks for bytes of the ring. */
  #fetch(
    area: 'descriptor' | 'driver' | 'device',
    offset: number,
    length: number,
    then: (bytes: DataView) => void,
  ): void {
    const address = (this.#options[`${area}Area`] + offset) as GuestAddress;
    const bytes = new Uint8Array(length);
    this.#distant.read(address, bytes, (there) => {
      if (this.#over) return;
      if (there) then(new DataView(bytes.buffer));
      else this.#fail('AREA_UNMAPPED', '2.7', `${area} area: ${range(address, length)}`);
    });
  }

  #store(offset: number, bytes: Uint8Array, then: () => void): void {
    const address = (this.#options.deviceArea + offset) as GuestAddress;
    this.#distant.write(address, bytes, (there) => {
      if (this.#over) return;
      if (there) then();
      else this.#fail('AREA_UNMAPPED', '2.7', `device area: ${range(address, bytes.length)}`);
    });
  }

  #look(): void {
    if (!this.#started) {
      this.#fetch('device', VIRTQ_USED.idx, 2, (bytes) => this.#start(bytes.getUint16(0, true)));
      return;
    }
    this.#again = false;
    this.#fetch('driver', VIRTQ_AVAIL.idx, 2, (bytes) => this.#seen(bytes.getUint16(0, true)));
  }

  #start(used: number): void {
    if (((this.#nextAvail - used) & 0xffff) > this.size) {
      const text = `used index ${used} is more than ${this.size} behind the next available index ${this.#nextAvail}`;
      this.#fail('USED_INDEX', '2.7.8', text);
      return;
    }
    this.#nextUsed = used;
    this.#published = used;
    this.#started = true;
    this.#look();
  }

  #seen(idx: number): void {
    this.#seenIdx = idx;
    const ahead = (idx - this.#nextAvail) & 0xffff;
    const taken = (this.#nextAvail - this.#published) & 0xffff;
    if (ahead > this.size - taken) {
      const text = `available index ${idx} is ${ahead} ahead of ${this.#nextAvail}, with ${taken} of ${this.size} not handed back`;
      this.#fail('AVAIL_INDEX', '2.7.6', text);
      return;
    }
    if (ahead === 0) {
      this.#rest();
      return;
    }
    const slot = this.#nextAvail & this.#mask;
    const count = Math.min(ahead, BATCH, this.size - slot);
    // The ring and its table only after the index: what it says is there then (§2.7.13.3).
    this.#fetch('driver', VIRTQ_AVAIL.ring + 2 * slot, 2 * count, (ring) =>
      this.#fetch('descriptor', 0, descriptorAreaSize(this.size), (table) => {
        const heads = Array.from({ length: count }, (_, i) => ring.getUint16(2 * i, true));
        this.#walk(heads, new MappedView(table.buffer as ArrayBuffer), []);
      }),
    );
  }

  /** Nothing is there: with EVENT_IDX the driver is told to kick for the next one, and looked at once more. */
  #rest(): void {
    if (this.#options.eventIdx && this.#eventAt !== this.#nextAvail) {
      this.#eventAt = this.#nextAvail;
      const bytes = Uint8Array.of(this.#nextAvail & 0xff, this.#nextAvail >>> 8);
      this.#store(availEventOffset(this.size), bytes, () => this.#look());
    } else if (this.#again) {
      this.#look();
    } else {
      this.#looking = false;
    }
  }

  /** Walks the chains from `heads[fetched.length]` on, as far as there is room for them, then fetches what they hold. */
  #walk(
    heads: readonly number[],
    table: MemoryView,
    fetched: Crossing[],
    indirect?: TableWanted & { view?: MemoryView },
  ): void {
    let known = indirect;
    try {
      while (fetched.length < heads.length) {
        const crossing = this.#cross(heads[fetched.length]!, table, known);
        if (crossing === undefined) break;
        known = undefined;
        fetched.push(crossing);
      }
    } catch (error) {
      if (error instanceof TableWanted) {
        const bytes = new Uint8Array(error.length);
        this.#distant.read(error.address, bytes, (there) => {
          if (this.#over) return;
          if (there) this.#walk(heads, table, fetched, { ...error, view: new MappedView(bytes.buffer) });
          else
            this.#fail(
              'INDIRECT_UNMAPPED',
              '2.7.5.3',
              `indirect table: ${range(error.address, error.length)}`,
            );
        });
        return;
      }
      if (!(error instanceof VirtqueueError)) throw error;
      this.#break(error);
      return;
    }
    this.#load(fetched);
  }

  /** Takes a chain up; `undefined` when it has to wait until others are given back. */
  #cross(head: number, table: MemoryView, known?: TableWanted & { view?: MemoryView }): Crossing | undefined {
    if (head >= this.size) {
      throw new VirtqueueError(
        'HEAD_INDEX',
        '2.7.6',
        `head index ${head} is not below the queue size ${this.size}`,
      );
    }
    if (this.#crossings.has(head)) {
      const text = `head index ${head} was made available again before it was used`;
      throw new VirtqueueError('HEAD_IN_FLIGHT', '2.7.13.1', text);
    }
    const { memory } = this.#options;
    const named = new HeldChain(memory, head);
    walkChain(named, memory, table, this.size, this.#options.indirect, (address, length) => {
      if (known?.view === undefined || known.address !== address || known.length !== length) {
        throw new TableWanted(address, length);
      }
      return known.view;
    });
    const { readable } = named;
    const length = readable + named.writable;
    if (length > BYTES_MOST) {
      const text = `chain ${head} has ${length} bytes, more than the ${BYTES_MOST} that are carried for a driver whose memory is not shared`;
      throw new VirtqueueError('CHAIN_BYTES', '2.7.5.2', text);
    }
    const cost = length + named.segments * SEGMENT_COST;
    if (this.#bytes > 0 && this.#bytes + cost > BYTES_MOST) return undefined;
    this.#bytes += cost;
    const bytes = new Uint8Array(length);
    const copy = new GuestMemory();
    if (length > 0) copy.add({ start: 0 as GuestAddress, view: new MappedView(bytes.buffer) });
    const chain = new HeldChain(copy, head);
    chain.lay(readable, named.writable);
    const crossing = {
      head,
      chain,
      bytes,
      readable,
      writable: named.segmentsOf(true),
      cost,
      written: 0,
      finished: false,
    };
    this.#crossings.set(head, crossing);
    this.#wanted.push([crossing, named.segmentsOf(false)]);
    return crossing;
  }

  #load(fetched: readonly Crossing[]): void {
    let waiting = 1;
    const arrived = (there: boolean): void => {
      if (this.#over) return;
      if (!there) {
        this.#fail('BUFFER_UNMAPPED', '2.7.5', 'a buffer to be read can not be had');
        return;
      }
      waiting -= 1;
      if (waiting > 0) return;
      this.#nextAvail = (this.#nextAvail + fetched.length) & 0xffff;
      this.#ready.push(...fetched);
      if (fetched.length > 0) this.#events.arrived();
      if (this.#over) return;
      // None fitted: looked at again when one is given back.
      if (fetched.length === 0) {
        this.#full = true;
        this.#looking = false;
      } else if (this.#nextAvail === this.#seenIdx) this.#rest();
      else this.#look();
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

  /** What the device wrote goes first, then the elements, then the index: each when the one before is there. */
  #giveBack(): void {
    const done = this.#done.splice(0);
    let waiting = 1;
    const written = (there: boolean): void => {
      if (this.#over) return;
      if (!there) {
        this.#fail('BUFFER_UNMAPPED', '2.7.5', 'a buffer to be written can not be had');
        return;
      }
      waiting -= 1;
      if (waiting === 0) this.#giveElements(done);
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

  #giveElements(done: readonly Crossing[]): void {
    const first = this.#nextUsed & this.#mask;
    const elements = new Uint8Array(done.length * VIRTQ_USED_ELEM_SIZE);
    const view = new DataView(elements.buffer);
    for (const [i, { head, written, cost }] of done.entries()) {
      view.setUint32(i * VIRTQ_USED_ELEM_SIZE + VIRTQ_USED_ELEM.id, head, true);
      view.setUint32(i * VIRTQ_USED_ELEM_SIZE + VIRTQ_USED_ELEM.len, written, true);
      // From the index on the driver may use it again, and we may hear of that first.
      this.#crossings.delete(head);
      this.#bytes -= cost;
    }
    this.#nextUsed = (this.#nextUsed + done.length) & 0xffff;
    const fits = Math.min(done.length, this.size - first) * VIRTQ_USED_ELEM_SIZE;
    const next = (): void => this.#giveIndex();
    this.#store(VIRTQ_USED.ring + first * VIRTQ_USED_ELEM_SIZE, elements.subarray(0, fits), () => {
      if (fits === elements.length) next();
      else this.#store(VIRTQ_USED.ring, elements.subarray(fits), next);
    });
  }

  #giveIndex(): void {
    const before = this.#published;
    this.#published = this.#nextUsed;
    const index = Uint8Array.of(this.#published & 0xff, this.#published >>> 8);
    this.#store(VIRTQ_USED.idx, index, () => {
      const { eventIdx } = this.#options;
      const offset = eventIdx ? usedEventOffset(this.size) : VIRTQ_AVAIL.flags;
      // After the index: a driver that wants an interrupt at this moment would get none otherwise.
      this.#fetch('driver', offset, 2, (bytes) => {
        const wish = bytes.getUint16(0, true);
        const wanted = eventIdx
          ? passesEvent(wish, before, this.#published)
          : (wish & VIRTQ_AVAIL_F_NO_INTERRUPT) === 0;
        if (wanted) this.#events.interrupt();
        if (this.#over) return;
        this.#returning = false;
        this.publish();
        if (!this.#returning) this.#tellReturned();
        if (!this.#full) return;
        this.#full = false;
        this.kick();
      });
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

function range(address: number, length: number): string {
  const where = Number.isNaN(address) ? 'an address above 2^53 - 1' : `0x${address.toString(16)}`;
  return `${where} + ${length} bytes is not guest memory`;
}
