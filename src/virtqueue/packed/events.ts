import type { MemoryView } from '../../memory/memory-view.js';
import {
  PVIRTQ_EVENT_SUPPRESS,
  RING_EVENT_FLAGS_DESC,
  RING_EVENT_FLAGS_DISABLE,
  RING_EVENT_FLAGS_ENABLE,
} from './layout.js';
import type { Place } from './place.js';

/** What one side wants to be told of: its own event suppression structure, which the other only reads (VIRTIO 1.3 §2.8.10). */
export class EventWish {
  readonly #eventIdx: boolean;
  /** The structure says which descriptor. */
  #named = false;

  /** @param eventIdx - VIRTIO_F_EVENT_IDX was negotiated. */
  constructor(eventIdx: boolean) {
    this.#eventIdx = eventIdx;
  }

  /** Nothing, for now: a hint. */
  disable(view: MemoryView): void {
    this.#named = false;
    view.write16(PVIRTQ_EVENT_SUPPRESS.flags, RING_EVENT_FLAGS_DISABLE);
  }

  /** The next descriptor, at the place `next` (as `Place.bits` says it). Whoever calls looks at that descriptor once more: it may be there already. */
  enable(view: MemoryView, next: number): void {
    if (!this.#eventIdx) {
      view.store16(PVIRTQ_EVENT_SUPPRESS.flags, RING_EVENT_FLAGS_ENABLE);
    } else if (this.#named) {
      view.store16(PVIRTQ_EVENT_SUPPRESS.desc, next);
    } else {
      // The place before the flag that makes it count; who reads them does so the other way round.
      view.write16(PVIRTQ_EVENT_SUPPRESS.desc, next);
      view.store16(PVIRTQ_EVENT_SUPPRESS.flags, RING_EVENT_FLAGS_DESC);
      this.#named = true;
    }
  }
}

/** Stands for what never comes, where a structure names no descriptor. */
const EVERYTHING = -1;
const NOTHING = -2;

/**
 * What the other side wants to be told of: a place, or one of two numbers that are none. What makes no sense (the reserved value, a
 * descriptor without EVENT_IDX) is taken for everything, so that nobody sleeps through it.
 */
export function wishOf(view: MemoryView, eventIdx: boolean): number {
  const flags = view.load16(PVIRTQ_EVENT_SUPPRESS.flags) & 3;
  if (flags === RING_EVENT_FLAGS_DISABLE) return NOTHING;
  if (flags !== RING_EVENT_FLAGS_DESC || !eventIdx) return EVERYTHING;
  return view.load16(PVIRTQ_EVENT_SUPPRESS.desc);
}

/** Whether a side that went on by `descriptors` from `before` must tell the other. @param wish - as `wishOf` says it. */
export function isWanted(wish: number, before: Place, descriptors: number): boolean {
  return wish < 0 ? wish === EVERYTHING : before.passes(wish, descriptors);
}
