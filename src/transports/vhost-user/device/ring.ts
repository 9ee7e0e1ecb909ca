import type { FrontendAddress, GuestAddress } from '../../../memory/address.js';
import type { Alarm } from '../../../virtio/clock.js';
import type { RingPlace } from '../../../virtio/driver-transport.js';
import type { RingKind } from '../../../virtio/ring-kind.js';
import type { EventPort } from '../../ports.js';
import type { VringAddress } from '../payloads.js';
import type { MemoryTable } from './memory-table.js';
import { Refusal } from './refusal.js';

/** Says where in guest memory an address of a ring is. */
export interface Places {
  /** @throws Refusal when it is nowhere. */
  translate(address: FrontendAddress, length: number): GuestAddress;
}

/** Where a ring was when it was stopped, and what a later queue over it goes on from. */
export interface RingStop {
  readonly place: RingPlace;
  readonly base: number;
}

/** One vring as the front-end set it up. Started and enabled are two things: it is served when it is both. */
export class Ring {
  readonly index: number;
  /** Descriptors; 0 until told. */
  size = 0;
  addresses: VringAddress | undefined;
  /** Where to serve from, as `Virtqueue.base` says it: where a fresh ring starts unless told. */
  base: number | undefined;
  /** From SET_VRING_KICK to GET_VRING_BASE. */
  started = false;
  enabled = false;
  /** Whether the device has a queue over it. Its layout must not change then. */
  live = false;
  /** The front-end keeps what is in flight. */
  tracked = false;
  /** An earlier back-end served it, and may have died before it interrupted the driver. */
  owed = false;
  /** It would be live, but it is not known yet where it is. */
  waiting = false;
  /** It is served when the device has given up what it held, or then at the latest. */
  awaiting: Alarm | undefined;
  kick: EventPort | undefined;
  /** It is looked at now and then, because there is no kick. */
  polled = false;
  call: EventPort | undefined;
  /** The front-end gave a call event, or said that it needs none. */
  callTold = false;
  err: EventPort | undefined;
  /** While it is stopped, where it was, in whichever process: by this it is known whether it is another driver's. */
  stop: RingStop | undefined;
  /** The same, though the device was reset since: what is in flight there is on the front-end's record still. */
  left: RingStop | undefined;
  #place: RingPlace | undefined;

  constructor(index: number) {
    this.index = index;
  }

  get serving(): boolean {
    return this.live && this.started && this.enabled;
  }

  /** @throws Refusal when the front-end did not tell all about it. */
  checkConfigured(table: MemoryTable): void {
    if (this.size === 0) throw new Refusal(`ring ${this.index} was given no size`);
    if (this.addresses === undefined) throw new Refusal(`ring ${this.index} was given no addresses`);
    if (table.memory.regions.length === 0) throw new Refusal('there is no memory');
  }

  /**
   * Where its areas are in guest memory.
   *
   * @throws Refusal when they are not there.
   */
  place(table: Places, kind: RingKind): RingPlace {
    const { size, addresses } = this as { size: number; addresses: VringAddress };
    const bytes = kind.areaSizes(size);
    return {
      size,
      descriptorArea: table.translate(addresses.descriptor, bytes.descriptor),
      driverArea: table.translate(addresses.available, bytes.driver),
      deviceArea: table.translate(addresses.used, bytes.device),
    };
  }

  /** A queue was put over it, or (without a place) it is broken from the start. */
  ran(place: RingPlace | undefined): void {
    this.live = true;
    this.waiting = false;
    this.#place = place;
    this.stop = undefined;
    this.left = undefined;
  }

  /** The queue was taken away again, and a later one goes on from `base`. */
  stopped(base: number): void {
    this.live = false;
    this.base = base;
    this.stop = this.#place && { place: this.#place, base };
    this.left = this.stop;
  }

  /** Whether it can't be the ring that was stopped before: it is another driver's, or the same driver's after a reset. */
  isFresh(table: Places, kind: RingKind): boolean {
    return this.stop !== undefined && !this.#goesOn(this.stop, table, kind);
  }

  /**
   * Whether it begins anew since it was stopped, be it that the device was reset meanwhile. One that goes on in another place is of a snapshot,
   * with the requests that were in flight then.
   */
  beginsAnew(table: Places, kind: RingKind): boolean {
    const { base = kind.freshBase } = this;
    return this.left !== undefined && base === kind.freshBase && !this.#goesOn(this.left, table, kind);
  }

  /** Whether no other driver's ring can be like this one: it is where it was stopped, and not at its beginning. */
  surelyGoesOn(table: Places, kind: RingKind): boolean {
    return (
      this.stop !== undefined && this.stop.base !== kind.freshBase && this.#goesOn(this.stop, table, kind)
    );
  }

  /**
   * Forgets where it ran, and what its driver set up. Its call and error events stay: front-ends hand them over once.
   *
   * @param wholly - where it was stopped, too.
   */
  reset(wholly = true): void {
    this.#awaitNothing();
    this.started = false;
    this.enabled = false;
    this.live = false;
    this.waiting = false;
    this.base = undefined;
    this.#place = undefined;
    if (wholly) this.stop = undefined;
    this.kick?.close();
    this.kick = undefined;
  }

  close(): void {
    this.#awaitNothing();
    this.kick?.close();
    this.call?.close();
    this.err?.close();
  }

  #awaitNothing(): void {
    this.awaiting?.close();
    this.awaiting = undefined;
  }

  #goesOn({ place, base }: RingStop, table: Places, kind: RingKind): boolean {
    return this.base === base && this.#isInPlace(place, table, kind);
  }

  #isInPlace(before: RingPlace, table: Places, kind: RingKind): boolean {
    try {
      const now = this.place(table, kind);
      return (
        now.size === before.size &&
        now.descriptorArea === before.descriptorArea &&
        now.driverArea === before.driverArea &&
        now.deviceArea === before.deviceArea
      );
    } catch {
      return false;
    }
  }
}
