import type { DistantMemory } from '../../memory/distant-memory.js';
import { MappedView } from '../../memory/mapped-view.js';
import type { MemoryView } from '../../memory/memory-view.js';
import type { CarriedRing, Named } from '../carried/carried-ring.js';
import type { Crossing } from '../carried/crossing.js';
import { type AreaEvents, DistantAreas } from '../carried/distant-areas.js';
import type { DeviceQueueOptions } from '../device-queue-options.js';
import { passesEvent } from '../event-index.js';
import { HeldChain } from '../held-chain.js';
import type { TableAt } from '../indirect-table.js';
import { refuse } from '../inflight.js';
import { VirtqueueError } from '../virtqueue-error.js';
import { SplitInflight } from './inflight.js';
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

/** Chains that are fetched at once. */
const BATCH = 64;

/** The ring of a carried split virtqueue (VIRTIO 1.3 §2.7). */
export class SplitCarriedRing implements CarriedRing {
  readonly sections = { buffer: '2.7.5', indirect: '2.7.5.3' };
  readonly #options: DeviceQueueOptions;
  readonly #areas: DistantAreas;
  readonly #events: AreaEvents;
  readonly #mask: number;
  /** Those that were found, and the table that they are in. */
  #heads: readonly number[] = [];
  #table!: MemoryView;
  #nextAvail: number;
  #nextUsed = 0;
  /** The used index as the driver sees it. */
  #published = 0;
  /** The available index as last read. */
  #seenIdx = -1;
  #begun = false;
  #tracked: SplitInflight | undefined;
  /** Some are on their way back, and it is on record that they may be there: nothing else is put on record meanwhile. */
  #giving = false;
  /** What the driver was last told to kick for; with EVENT_IDX the index, else that it should. */
  #askedFor = -1;

  /** @throws VirtqueueError as `SplitDeviceQueue` does; a used index that can't be is found later. */
  constructor(options: DeviceQueueOptions, distant: DistantMemory, events: AreaEvents) {
    const { size, base } = options;
    if (!isQueueSize(size)) {
      throw new VirtqueueError('QUEUE_SIZE', '2.7', `queue size ${size} is no power of two in 1..32768`);
    }
    if (!(Number.isInteger(base) && base >= 0 && base <= 0xffff)) {
      throw new VirtqueueError('QUEUE_BASE', '2.7.6', `next available index ${base} is not in 0..65535`);
    }
    const sizes = {
      descriptor: descriptorAreaSize(size),
      driver: driverAreaSize(size),
      device: deviceAreaSize(size),
    };
    this.#areas = new DistantAreas(options, sizes, AREA_ALIGNMENT, '2.7', distant, events);
    this.#options = options;
    this.#events = events;
    this.#mask = size - 1;
    this.#nextAvail = base;
  }

  base(first: Crossing | undefined): number {
    return first?.place ?? (this.#nextAvail + (this.#tracked?.pending ?? 0)) & 0xffff;
  }

  serialOf(head: number): number | undefined {
    return this.#tracked?.serialOf(head);
  }

  isOut(head: number, serial: number): boolean | undefined {
    if (this.#options.inflight === undefined) return false;
    return this.#tracked?.isOut(head, serial);
  }

  get begun(): boolean {
    return this.#begun;
  }

  begin(then: () => void): void {
    this.#areas.fetch('device', VIRTQ_USED.idx, 2, (bytes) => {
      const used = bytes.getUint16(0, true);
      const { size, inflight } = this.#options;
      try {
        this.#tracked = inflight && new SplitInflight(inflight, { size, used, base: this.#nextAvail });
      } catch (error) {
        if (!(error instanceof VirtqueueError)) throw error;
        this.#events.fail(error);
        return;
      }
      // Those that an earlier device left stand for the first that are available.
      if (this.#tracked?.resumed === true) this.#nextAvail = used;
      if (((this.#nextAvail - used) & 0xffff) > size) {
        const text = `used index ${used} is more than ${size} behind the next available index ${this.#nextAvail}`;
        this.#events.fail(new VirtqueueError('USED_INDEX', '2.7.8', text));
        return;
      }
      this.#nextUsed = used;
      this.#published = used;
      this.#begun = true;
      then();
    });
  }

  look(found: (any: boolean) => void): void {
    this.#areas.fetch('driver', VIRTQ_AVAIL.idx, 2, (bytes) => this.#seen(bytes.getUint16(0, true), found));
  }

  #seen(idx: number, found: (any: boolean) => void): void {
    const { size } = this.#options;
    this.#seenIdx = idx;
    const ahead = (idx - this.#nextAvail) & 0xffff;
    const taken = (this.#nextAvail - this.#published) & 0xffff;
    if (ahead > size - taken) {
      const text = `available index ${idx} is ${ahead} ahead of ${this.#nextAvail}, with ${taken} of ${size} not handed back`;
      this.#events.fail(new VirtqueueError('AVAIL_INDEX', '2.7.6', text));
      return;
    }
    if (ahead === 0) {
      found(false);
      return;
    }
    const left = this.#tracked?.pending ?? 0;
    if (left > 0) {
      this.#lookAgain(left, ahead, found);
      return;
    }
    const slot = this.#nextAvail & this.#mask;
    const count = Math.min(ahead, BATCH, size - slot);
    // The ring and its table only after the index: what it says is there then (§2.7.13.3).
    this.#areas.fetch('driver', VIRTQ_AVAIL.ring + 2 * slot, 2 * count, (ring) =>
      this.#areas.fetch('descriptor', 0, descriptorAreaSize(size), (table) => {
        this.#heads = Array.from({ length: count }, (_, i) => ring.getUint16(2 * i, true));
        this.#table = new MappedView(table.buffer as ArrayBuffer);
        found(true);
      }),
    );
  }

  /** Finds those that an earlier device took and did not give back. */
  #lookAgain(left: number, ahead: number, found: (any: boolean) => void): void {
    if (left > ahead) {
      try {
        refuse(`${left} are in flight, and ${ahead} were made available since the last that was used`);
      } catch (error) {
        this.#events.fail(error as VirtqueueError);
        return;
      }
    }
    this.#areas.fetch('descriptor', 0, descriptorAreaSize(this.#options.size), (table) => {
      this.#heads = this.#tracked!.ahead(BATCH);
      this.#table = new MappedView(table.buffer as ArrayBuffer);
      found(true);
    });
  }

  next(isHeld: (head: number) => boolean, tableAt: TableAt): Named | undefined {
    const [head] = this.#heads;
    if (head === undefined || this.#giving) return undefined;
    const { size, memory, indirect } = this.#options;
    if (head >= size) {
      const text = `head index ${head} is not below the queue size ${size}`;
      throw new VirtqueueError('HEAD_INDEX', '2.7.6', text);
    }
    if (isHeld(head)) {
      const text = `head index ${head} was made available again before it was used`;
      throw new VirtqueueError('HEAD_IN_FLIGHT', '2.7.13.1', text);
    }
    const chain = new HeldChain(memory, head);
    walkChain(chain, memory, this.#table, size, indirect, tableAt);
    return { chain, place: this.#nextAvail, count: 1 };
  }

  take({ chain }: Named): void {
    const tracked = this.#tracked;
    if (tracked !== undefined && tracked.pending > 0) tracked.next();
    else tracked?.taken(chain.head);
    this.#heads = this.#heads.slice(1);
    this.#nextAvail = (this.#nextAvail + 1) & 0xffff;
  }

  get more(): boolean {
    return this.#nextAvail !== this.#seenIdx;
  }

  askForKicks(then: () => void): boolean {
    const { eventIdx, size } = this.#options;
    const wanted = eventIdx ? this.#nextAvail : 0;
    if (this.#askedFor === wanted) return false;
    this.#askedFor = wanted;
    const offset = eventIdx ? availEventOffset(size) : VIRTQ_USED.flags;
    this.#areas.store('device', offset, le16(wanted), then);
    return true;
  }

  give(done: readonly Crossing[], then: (wanted: boolean) => void): void {
    const first = this.#nextUsed & this.#mask;
    const elements = new Uint8Array(done.length * VIRTQ_USED_ELEM_SIZE);
    const view = new DataView(elements.buffer);
    for (const [i, { head, written }] of done.entries()) {
      view.setUint32(i * VIRTQ_USED_ELEM_SIZE + VIRTQ_USED_ELEM.id, head, true);
      view.setUint32(i * VIRTQ_USED_ELEM_SIZE + VIRTQ_USED_ELEM.len, written, true);
      this.#tracked?.pushed(head);
    }
    this.#nextUsed = (this.#nextUsed + done.length) & 0xffff;
    const fits = Math.min(done.length, this.#options.size - first) * VIRTQ_USED_ELEM_SIZE;
    const next = (): void => this.#giveIndex(then);
    this.#areas.store(
      'device',
      VIRTQ_USED.ring + first * VIRTQ_USED_ELEM_SIZE,
      elements.subarray(0, fits),
      () => {
        if (fits === elements.length) next();
        else this.#areas.store('device', VIRTQ_USED.ring, elements.subarray(fits), next);
      },
    );
  }

  #giveIndex(then: (wanted: boolean) => void): void {
    const before = this.#published;
    const after = this.#nextUsed;
    this.#published = after;
    if (this.#tracked !== undefined) {
      this.#giving = true;
      this.#tracked.showing();
    }
    this.#areas.store('device', VIRTQ_USED.idx, le16(after), () => {
      this.#giving = false;
      this.#tracked?.shown(after);
      const { eventIdx, size } = this.#options;
      const offset = eventIdx ? usedEventOffset(size) : VIRTQ_AVAIL.flags;
      // After the index: a driver that wants an interrupt at this moment would get none otherwise.
      this.#areas.fetch('driver', offset, 2, (bytes) => {
        const wish = bytes.getUint16(0, true);
        then(eventIdx ? passesEvent(wish, before, after) : (wish & VIRTQ_AVAIL_F_NO_INTERRUPT) === 0);
      });
    });
  }
}

function le16(value: number): Uint8Array {
  return Uint8Array.of(value & 0xff, value >>> 8);
}
