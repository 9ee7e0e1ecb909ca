import type { DistantMemory } from '../../memory/distant-memory.js';
import { MappedView } from '../../memory/mapped-view.js';
import type { MemoryView } from '../../memory/memory-view.js';
import type { CarriedRing, Named, TableAt } from '../carried/carried-ring.js';
import type { Crossing } from '../carried/crossing.js';
import { type AreaEvents, DistantAreas } from '../carried/distant-areas.js';
import type { DeviceQueueOptions } from '../device-queue-options.js';
import { HeldChain } from '../held-chain.js';
import { VirtqueueError } from '../virtqueue-error.js';
import { isWanted, wishOf } from './events.js';
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
import { walkPackedChain } from './walk.js';

/** Descriptors of which it is looked at once whether they are available. */
const WINDOW = 64;

/** The ring of a carried packed virtqueue (VIRTIO 1.3 §2.8). */
export class PackedCarriedRing implements CarriedRing {
  readonly sections = { buffer: '2.8.4', indirect: '2.8.7' };
  readonly begun = true;
  readonly #options: DeviceQueueOptions;
  readonly #areas: DistantAreas;
  /** Where the next available descriptor is, and the next used one goes. */
  readonly #next: Place;
  readonly #used: Place;
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
  }

  base(first: Crossing | undefined): number {
    return ((first?.place ?? this.#next.bits) | (this.#used.bits << 16)) >>> 0;
  }

  begin(then: () => void): void {
    then();
  }

  /** Nothing else of a list is read before the flags of its first descriptor were seen: what they say is there then (§2.8.21.1). */
  look(found: (any: boolean) => void): void {
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

  next(isHeld: (head: number) => boolean, tableAt: TableAt): Named | undefined {
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
    const walked = { memory, view: this.#ring, size, indirect, tableAt };
    const idAndCount = walkPackedChain(chain, walked, offset, idAndFlags, room);
    chain.head = idAndCount & 0xffff;
    if (isHeld(chain.head)) {
      const text = `buffer id ${chain.head} was made available again before it was used`;
      throw new VirtqueueError('BUFFER_IN_FLIGHT', '2.8.21.1', text);
    }
    return { chain, place: this.#next.bits, count: idAndCount >>> 16 };
  }

  take({ count }: Named): void {
    this.#next.advance(count);
    this.#taken += count;
    this.#available -= count;
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
      this.#areas.store('descriptor', at, Uint8Array.of(firstFlags & 0xff, firstFlags >>> 8), () =>
        this.#askWhetherWanted(before, count, then),
      );
    };
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
