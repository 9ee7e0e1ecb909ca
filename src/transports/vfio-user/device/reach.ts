import type { GuestAddress } from '../../../memory/address.js';
import type { DistantMemory } from '../../../memory/distant-memory.js';
import type { GuestMemory } from '../../../memory/guest-memory.js';
import { MemoryError } from '../../../memory/memory-error.js';
import type { MemoryView } from '../../../memory/memory-view.js';
import type { DmaMessages } from './dma-messages.js';
import { RemoteView } from './remote-view.js';

/** What to do with one piece of a range: a piece that is here at once, a distant one by messages. */
interface Access {
  here(view: MemoryView, offset: number, start: number, length: number): void;
  there(
    view: RemoteView,
    offset: number,
    start: number,
    length: number,
    done: (there: boolean) => void,
  ): void;
}

/** A client's memory, shared and not. */
export class Reach implements DistantMemory {
  readonly #memory: GuestMemory;
  readonly #messages: DmaMessages;
  readonly #defer: (callback: () => void) => void;
  #held: (() => void)[] | undefined;

  constructor(memory: GuestMemory, messages: DmaMessages, defer: (callback: () => void) => void) {
    this.#memory = memory;
    this.#messages = messages;
    this.#defer = defer;
  }

  /** Whether no memory is touched for now: what is asked for meanwhile is done after it. */
  set held(value: boolean) {
    if (value) {
      this.#held ??= [];
      return;
    }
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const access of held) access();
  }

  read(address: GuestAddress, into: Uint8Array, done: (there: boolean) => void): void {
    this.#each(address, into.length, done, {
      here: (view, offset, start, length) => view.copyOut(offset, into, start, length),
      there: (view, offset, start, length, one) =>
        this.#messages.read(view.address + offset, into.subarray(start, start + length), one),
    });
  }

  write(address: GuestAddress, from: Uint8Array, done: (there: boolean) => void): void {
    this.#each(address, from.length, done, {
      here: (view, offset, start, length) => view.copyIn(offset, from, start, length),
      there: (view, offset, start, length, one) => {
        if (!view.writable) throw new MemoryError('UNMAPPED', view.address + offset, length);
        this.#messages.write(view.address + offset, from.subarray(start, start + length), (there) => {
          if (there) this.#memory.dirtyLog?.wrote(view.address + offset, length);
          one(there);
        });
      },
    });
  }

  #each(address: GuestAddress, length: number, done: (there: boolean) => void, access: Access): void {
    if (this.#held !== undefined) {
      this.#held.push(() => this.#each(address, length, done, access));
      return;
    }
    let pending = 1;
    let ok = true;
    const one = (there: boolean): void => {
      ok &&= there;
      pending -= 1;
      if (pending === 0) done(ok);
    };
    try {
      for (let start = 0; start < length; ) {
        const region = this.#memory.regionOf((address + start) as GuestAddress, 1);
        if (region === undefined) throw new MemoryError('UNMAPPED', address, length);
        const offset = address + start - region.start;
        const size = Math.min(length - start, region.view.length - offset);
        if (region.view instanceof RemoteView) {
          pending += 1;
          access.there(region.view, offset, start, size, one);
        } else {
          access.here(region.view, offset, start, size);
        }
        start += size;
      }
    } catch (error) {
      if (!(error instanceof MemoryError)) throw error;
      ok = false;
    }
    this.#defer(() => one(ok));
  }
}
