import type { DistantMemory } from '../../memory/distant-memory.js';
import { MappedView } from '../../memory/mapped-view.js';
import type { MemoryView } from '../../memory/memory-view.js';
import type { CarriedRing, Named } from '../carried/carried-ring.js';
import type { Crossing } from '../carried/crossing.js';
import { type AreaEvents, DistantAreas } from '../carried/distant-areas.js';
import type { DeviceQueueOptions } from '../device-queue-options.js';
import { HeldChain } from '../held-chain.js';
import type { TableAt } from '../indirect-table.js';
import { refuse } from '../inflight.js';
import { VirtqueueError } from '../virtqueue-error.js';
import { isWanted, wishOf } from './events.js';
import { PackedInflight } from './inflight.js';
import {
  AREA_ALIGNMENT,
  availableFlags,
  descriptorAreaSize,
  isQueueSize,
  OWNER_FLAGS,
  PVIRTQ_DESC,
  PVIRTQ_DESC_SIZE,
  PVIRTQ_EVENT_SUPPRESS,
  PVIRTQ_EVENT_SUPPRESS_SIZE,
  RING_EVENT_FLAGS_DESC,
  RING_EVENT_FLAGS_ENABLE,
  usedFlags,
  VIRTQ_DESC_F_WRITE,
} from './layout.js';
import { Place } from './place.js';
import { PackedRing, walkPackedChain } from './walk.js';

/** Descriptors of which it is looked at once whether they are available. */
const WINDOW = 64;

/** The ring of a carried packed virtqueue (VIRTIO 1.3 §2.8). */
export class PackedCarriedRing implements CarriedRing {
  readonly sections = { buffer: '2.8.4', indirect: '2.8.7' };
  readonly #options: DeviceQueueOptions;
  readonly #areas: DistantAreas;
  readonly #events: AreaEvents;
  /** Where the next available descriptor is, and the next used one goes. */
  #next: Place;
  #used: Place;
  #tracked: PackedInflight | undefined;
  #begun: boolean;
  /** Some are on their way back, and it is on record that they may be there: nothing else is put on record meanwhile. */
  #giving = false;
  /** Descriptors that are with the device, as the driver sees it. */
  #taken: number;
  /** How many from the next one on were seen to be available before the ring was read, and whether those after them were looked at. */
  #available = 0;
  #sawEnd = true;
  /** The ring as it was then. */
  #ring: MemoryView = new MappedView(new ArrayBuffer(0));
  /** What the driver was last told to kick for: a place with EVENT_IDX, else that it should. */
  #askedFor = -1;

  /** @throws VirtqueueError as `PackedDeviceQueue` does. */
  constructor(options: DeviceQueueOptions, distant: DistantMemory, events: AreaEvents) {
    const { size, base } = options;
    this.#events = events;
    if (!isQueueSize(size)) {
      throw new VirtqueueError('QUEUE_SIZE', '2.8', `queue size ${size} is not in 1..32768`);
    }
    this.#next = new Place(size, base);
    this.#used = new Place(size, base >>> 16);
    this.#taken = this.#next.from(this.#used);
    if (!this.#next.valid || !this.#used.valid || this.#taken > size) {
      const text = `0x${base.toString(16)} is no pair of places in a ring of ${size}`;
      throw new VirtqueueError('QUEUE_BASE', '2.8.1', text);
    }
    const suppression = PVIRTQ_EVENT_SUPPRESS_SIZE;
    const sizes = { descriptor: descriptorAreaSize(size), driver: suppression, device: suppression };
    this.#areas = new DistantAreas(options, sizes, AREA_ALIGNMENT, '2.8.10.1', distant, events);
    this.#options = options;
    this.#begun = options.inflight === undefined;
  }

  base(first: Crossing | undefined): number {
    const next = new Place(this.#options.size, this.#next.bits);
    next.advance(this.#tracked?.pendingDescriptors ?? 0);
    return ((first?.place ?? next.bits) | (this.#used.bits << 16)) >>> 0;
  }

  serialOf(head: number): number | undefined {
    return this.#tracked?.serialOf(head);
  }

  isOut(head: number, serial: number): boolean | undefined {
    if (this.#options.inflight === undefined) return false;
    return this.#tracked?.isOut(head, serial, this.#taken);
  }

  get begun(): boolean {
    return this.#begun;
  }

  /** Where it is kept what is in flight: goes on where an earlier device was. */
  begin(then: () => void): void {
    const { size } = this.#options;
    this.#areas.fetch('descriptor', 0, descriptorAreaSize(size), (bytes) => {
      const before = bytes.buffer.slice(0);
      const ring = new MappedView(bytes.buffer as ArrayBuffer);
      try {
        this.#tracked = new PackedInflight(this.#options.inflight!, { ...this.#options, ring });
      } catch (error) {
        if (!(error instanceof VirtqueueError)) throw error;
        this.#events.fail(error);
        return;
      }
      if (this.#tracked.resumed) {
        this.#next = new Place(size, this.#tracked.base);
        this.#used = new Place(size, this.#tracked.base >>> 16);
        this.#taken = 0;
      }
      this.#begun = true;
      this.#storeChanged(new DataView(before as ArrayBuffer), bytes, then);
    });
  }

  /** What an earlier device was about to show, and is taken back. */
  #storeChanged(before: DataView, after: DataView, then: () => void): void {
    let waiting = 1;
    const stored = (): void => {
      waiting -= 1;
      if (waiting === 0) then();
    };
    for (let at: number = PVIRTQ_DESC.flags; at < after.byteLength; at += PVIRTQ_DESC_SIZE) {
      const flags = after.getUint16(at, true);
      if (flags === before.getUint16(at, true)) continue;
      waiting += 1;
      this.#areas.store('descriptor', at, Uint8Array.of(flags & 0xff, flags >>> 8), stored);
    }
    stored();
  }

  /** Nothing else of a list is read before the flags of its first descriptor were seen: what they say is there then (§2.8.21.1). */
  look(found: (any: boolean) => void): void {
    if (this.#pending) {
      this.#available = 0;
      this.#sawEnd = false;
      found(true);
      return;
    }
    const { size } = this.#options;
    const { offset } = this.#next;
    const count = Math.min(WINDOW, size - offset);
    this.#areas.fetch('descriptor', offset * PVIRTQ_DESC_SIZE, count * PVIRTQ_DESC_SIZE, (window) => {
      const available = availableFlags(this.#next.wrap);
      let seen = 0;
      while (seen < count && (this.#flagsAt(window, seen) & OWNER_FLAGS) === available) seen += 1;
      this.#available = seen;
      this.#sawEnd = seen < count;
      if (seen === 0) {
        found(false);
        return;
      }
      this.#areas.fetch('descriptor', 0, descriptorAreaSize(size), (ring) => {
        this.#ring = new MappedView(ring.buffer as ArrayBuffer);
        found(true);
      });
    });
  }

  #flagsAt(window: DataView, index: number): number {
    return window.getUint16(index * PVIRTQ_DESC_SIZE + PVIRTQ_DESC.flags, true);
  }

  get #pending(): boolean {
    return this.#tracked !== undefined && this.#tracked.pending > 0;
  }

  /** The next that an earlier device took and did not give back: what it was is on record, the ring may say something else now. */
  #nextAgain(isHeld: (head: number) => boolean, tableAt: TableAt): Named {
    const { left, leftAt, leftCount } = this.#tracked!;
    const chain = new HeldChain(this.#options.memory, 0);
    const idAndFlags = left.view.read32(PVIRTQ_DESC_SIZE * leftAt + PVIRTQ_DESC.id);
    const idAndCount = walkPackedChain(chain, { ...left, tableAt }, leftAt, idAndFlags, leftCount);
    chain.head = idAndCount & 0xffff;
    const count = idAndCount >>> 16;
    if (count !== leftCount) refuse(`a chain of ${leftCount} descriptors ends after ${count}`);
    if (isHeld(chain.head)) refuse(`buffer ${chain.head} is in it twice`);
    return { chain, place: this.#next.bits, count };
  }

  next(isHeld: (head: number) => boolean, tableAt: TableAt): Named | undefined {
    if (this.#giving) return undefined;
    if (this.#pending) return this.#nextAgain(isHeld, tableAt);
    if (this.#available <= 0) return undefined;
    const { size, memory, indirect } = this.#options;
    const { offset } = this.#next;
    const room = size - this.#taken;
    if (room === 0) {
      const text = `descriptor ${offset} is available, though all ${size} are with the device`;
      throw new VirtqueueError('RING_OVERRUN', '2.8.16', text);
    }
    const at = offset * PVIRTQ_DESC_SIZE;
    const idAndFlags =
      (this.#ring.read16(at + PVIRTQ_DESC.flags) << 16) | this.#ring.read16(at + PVIRTQ_DESC.id);
    if (((idAndFlags >>> 16) & OWNER_FLAGS) !== availableFlags(this.#next.wrap)) {
      const text = `descriptor ${offset} was available, and is not any more`;
      throw new VirtqueueError('CHAIN_NOT_AVAILABLE', '2.8.21', text);
    }
    const chain = new HeldChain(memory, 0);
    const walked = new PackedRing(memory, this.#ring, size, indirect, tableAt);
    const idAndCount = walkPackedChain(chain, walked, offset, idAndFlags, room);
    chain.head = idAndCount & 0xffff;
    if (isHeld(chain.head)) {
      const text = `buffer id ${chain.head} was made available again before it was used`;
      throw new VirtqueueError('BUFFER_IN_FLIGHT', '2.8.21.1', text);
    }
    return { chain, place: this.#next.bits, count: idAndCount >>> 16 };
  }

  take({ chain, count }: Named): void {
    if (this.#pending) this.#tracked!.takenAgain(chain.head);
    else {
      const { offset } = this.#next;
      this.#tracked?.taken(this.#ring, this.#options.size, offset, count, chain.head);
      this.#available -= count;
    }
    this.#next.advance(count);
    this.#taken += count;
  }

  get more(): boolean {
    return this.#available > 0 || !this.#sawEnd;
  }

  askForKicks(then: () => void): boolean {
    const { eventIdx } = this.#options;
    const wanted = eventIdx ? this.#next.bits : 0;
    if (this.#askedFor === wanted) return false;
    this.#askedFor = wanted;
    const event = new DataView(new ArrayBuffer(PVIRTQ_EVENT_SUPPRESS_SIZE));
    event.setUint16(PVIRTQ_EVENT_SUPPRESS.desc, wanted, true);
    const flags = eventIdx ? RING_EVENT_FLAGS_DESC : RING_EVENT_FLAGS_ENABLE;
    event.setUint16(PVIRTQ_EVENT_SUPPRESS.flags, flags, true);
    this.#areas.store('device', 0, new Uint8Array(event.buffer), then);
    return true;
  }

  /** All but the first one's flags, and then those: the driver looks there first, so it sees nothing of the others before. */
  give(done: readonly Crossing[], then: (wanted: boolean) => void): void {
    const before = new Place(this.#options.size, this.#used.bits);
    const first = before.offset;
    let firstFlags = 0;
    let count = 0;
    let waiting = 1;
    const stored = (): void => {
      waiting -= 1;
      if (waiting > 0) return;
      this.#taken -= count;
      const at = first * PVIRTQ_DESC_SIZE + PVIRTQ_DESC.flags;
      this.#areas.store('descriptor', at, Uint8Array.of(firstFlags & 0xff, firstFlags >>> 8), () => {
        this.#giving = false;
        this.#tracked?.shown();
        this.#askWhetherWanted(before, count, then);
      });
    };
    const after = new Place(this.#options.size, this.#used.bits);
    for (const one of done) {
      after.advance(one.count);
      this.#tracked?.pushed(one.head);
    }
    this.#giving = this.#tracked !== undefined;
    this.#tracked?.showing(after.bits);
    for (const [i, one] of done.entries()) {
      const flags = usedFlags(this.#used.wrap) | (one.written > 0 ? VIRTQ_DESC_F_WRITE : 0);
      const bytes = new DataView(new ArrayBuffer(PVIRTQ_DESC_SIZE - PVIRTQ_DESC.len));
      bytes.setUint32(0, one.written, true);
      bytes.setUint16(PVIRTQ_DESC.id - PVIRTQ_DESC.len, one.head, true);
      bytes.setUint16(PVIRTQ_DESC.flags - PVIRTQ_DESC.len, flags, true);
      if (i === 0) firstFlags = flags;
      const length = i === 0 ? PVIRTQ_DESC.flags - PVIRTQ_DESC.len : bytes.byteLength;
      const at = this.#used.offset * PVIRTQ_DESC_SIZE + PVIRTQ_DESC.len;
      waiting += 1;
      this.#areas.store('descriptor', at, new Uint8Array(bytes.buffer, 0, length), stored);
      this.#used.advance(one.count);
      count += one.count;
    }
    stored();
  }

  /** After the flags: a driver that wants an interrupt at this moment would get none otherwise. */
  #askWhetherWanted(before: Place, count: number, then: (wanted: boolean) => void): void {
    this.#areas.fetch('driver', 0, PVIRTQ_EVENT_SUPPRESS_SIZE, (event) => {
      const wish = wishOf(new MappedView(event.buffer as ArrayBuffer), this.#options.eventIdx);
      then(isWanted(wish, before, count));
    });
  }
}
