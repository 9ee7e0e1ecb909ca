import type { GuestAddress } from '../../../memory/address.js';
import type { GuestMemory } from '../../../memory/guest-memory.js';
import type { DeviceRunner } from '../../../virtio/device-runner.js';
import type { IotlbMessage } from '../iotlb-message.js';
import { Iotlb } from './iotlb.js';
import type { MemoryTable } from './memory-table.js';
import { Refusal } from './refusal.js';
import type { Places, Ring } from './ring.js';

export interface ReachEvents {
  /** Asks the front-end for a translation; see `BackendChannel.ask`. */
  miss(payload: Uint8Array, answered: (ok: boolean) => void): boolean;
  /** A ring that waited for its memory may be served now. @throws Refusal */
  update(ring: Ring): void;
  warn(line: string): void;
}

/** What rings and requests lie in, as the front-end translates it (ACCESS_PLATFORM) or not: what is out of reach is left alone until it is known where it is. */
export class Reach {
  readonly #table: MemoryTable;
  readonly #runner: DeviceRunner;
  readonly #rings: readonly Ring[];
  readonly #events: ReachEvents;
  /** With ACCESS_PLATFORM. */
  #iotlb: Iotlb | undefined;
  /** Rings that are live, and whose memory is out of reach until the front-end says where it is. */
  readonly #lost = new Set<number>();

  constructor(table: MemoryTable, runner: DeviceRunner, rings: readonly Ring[], events: ReachEvents) {
    this.#table = table;
    this.#runner = runner;
    this.#rings = rings;
    this.#events = events;
  }

  /** What addresses in rings mean. */
  get memory(): GuestMemory {
    return this.#iotlb?.memory ?? this.#table.memory;
  }

  /** What the addresses of rings mean. */
  get places(): Places {
    return this.#iotlb === undefined ? this.#table : UNTRANSLATED;
  }

  /** @param wanted - whether addresses are translated from now on. */
  use(wanted: boolean): void {
    if (wanted === (this.#iotlb !== undefined)) return;
    this.#iotlb = wanted
      ? new Iotlb(this.#table, {
          ask: (miss, answered) => this.#events.miss(miss, answered),
          settled: () => this.#regain(),
        })
      : undefined;
  }

  /**
   * What is taken away is not touched from now on.
   *
   * @throws Refusal
   */
  translate(message: IotlbMessage): void {
    if (this.#iotlb === undefined) throw new Refusal('ACCESS_PLATFORM was not accepted');
    if (this.#iotlb.apply(message)) this.#lose();
    this.#regain();
  }

  /** The memory table changed, or who hears of writes to it. */
  memoryChanged(): void {
    if (this.#iotlb === undefined) return;
    if (this.#iotlb.followRegions()) this.#lose();
    this.#regain();
  }

  /** The queue of a ring is gone. */
  forget(index: number): void {
    if (this.#lost.delete(index)) this.#runner.tryQueue(index);
  }

  /** All queues are gone. */
  reset(): void {
    for (const index of [...this.#lost]) this.forget(index);
  }

  /** Something that rings or requests may lie in is out of reach: they are left alone until it is known what is. */
  #lose(): void {
    for (const { live, index } of this.#rings) {
      if (!live || this.#runner.isBroken(index)) continue;
      this.#runner.suspendQueue(index);
      this.#lost.add(index);
    }
  }

  #regain(): void {
    for (const index of [...this.#lost]) if (this.#runner.tryQueue(index)) this.#lost.delete(index);
    for (const ring of this.#rings) {
      if (ring.waiting) this.#try(ring);
      else if (ring.serving && !this.#lost.has(ring.index)) this.#runner.kick(ring.index);
    }
  }

  #try(ring: Ring): void {
    try {
      this.#events.update(ring);
    } catch (error) {
      // What it needs was taken away meanwhile.
      if (!(error instanceof Refusal)) throw error;
      ring.waiting = false;
      this.#events.warn(error.message);
    }
  }
}

/** With ACCESS_PLATFORM the front-end says what the driver says. */
const UNTRANSLATED: Places = { translate: (address) => address as number as GuestAddress };
