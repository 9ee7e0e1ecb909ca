import type { GuestAddress } from '../../memory/address.js';
import { GuestAllocator, type GuestBuffer } from '../../memory/guest-allocator.js';
import { GuestMemory } from '../../memory/guest-memory.js';
import { MappedView } from '../../memory/mapped-view.js';
import type { DeviceQueueOptions } from '../device-queue-options.js';
import type { DriverQueue } from '../driver-queue.js';
import { PackedDriverQueue } from '../packed/driver.js';
import { SplitDriverQueue } from '../split/driver.js';
import { type AccessHooks, WatchedView } from './watched-view.js';

export interface PoliteDriverOptions {
  /** Number of descriptors. 8 unless told. */
  readonly size?: number;
  /** Where the ring starts. A fresh one's unless told. */
  readonly base?: number;
  readonly eventIdx?: boolean;
  readonly indirect?: boolean;
  readonly inOrder?: boolean;
  /** A packed ring instead of a split one. */
  readonly packed?: boolean;
  /** Bytes of guest memory, rings included; a multiple of 4. 1 MiB unless told. */
  readonly bytes?: number;
  /** Guest-physical address of that memory. Above 4 GiB unless told, so that both halves of an address count. */
  readonly start?: number;
  /** Told of each access to that memory, whichever end it comes from. */
  readonly hooks?: AccessHooks;
}

/** A request that was sent, as it lies in guest memory. */
export interface SentRequest {
  readonly readable: readonly GuestBuffer[];
  readonly writable: readonly GuestBuffer[];
}

/** An answer to one. */
export interface Answer {
  readonly request: SentRequest;
  /** The bytes that the device says it wrote. */
  readonly bytes: Uint8Array;
}

/**
 * A well-behaved driver of one queue over plain memory, to test a device with: it speaks in bytes, allocates buffers for
 * them and frees them again.
 */
export class PoliteDriver {
  readonly memory: GuestMemory = new GuestMemory();
  readonly allocator: GuestAllocator;
  readonly queue: DriverQueue<SentRequest>;
  /** What the device's end of the same queue is made of. */
  readonly device: DeviceQueueOptions;

  constructor(options: PoliteDriverOptions = {}) {
    const { size = 8, eventIdx = false, indirect = false, inOrder = false, bytes = 1 << 20 } = options;
    const start = (options.start ?? 0x1_2345_0000) as GuestAddress;
    const { memory } = this;
    const view = new MappedView(new ArrayBuffer(bytes));
    memory.add({ start, view: options.hooks === undefined ? view : new WatchedView(view, options.hooks) });
    this.allocator = new GuestAllocator(start, bytes);
    const negotiated = { eventIdx, indirect, inOrder };
    const { allocator } = this;
    const from = options.base === undefined ? {} : { base: options.base };
    const made = { memory, allocator, size, ...negotiated, ...from };
    this.queue = options.packed === true ? new PackedDriverQueue(made) : new SplitDriverQueue(made);
    const { descriptorArea, driverArea, deviceArea, base } = this.queue;
    this.device = { memory, size, descriptorArea, driverArea, deviceArea, base, ...negotiated };
  }

  /**
   * Adds a request; `publish` shows it to the device.
   *
   * @param pieces - the device-readable bytes, one buffer for each piece.
   * @param room - bytes for the device to write, one buffer for each number.
   * @returns `false` when the ring is full.
   */
  send(pieces: readonly Uint8Array[], room: readonly number[] = []): boolean {
    return this.sent(pieces, room) !== undefined;
  }

  /**
   * The same. @returns what its answer will be known by; `undefined` when the ring is full.
   *
   * @throws RangeError for a request without a buffer, or with one of no bytes.
   */
  sent(pieces: readonly Uint8Array[], room: readonly number[] = []): SentRequest | undefined {
    if (pieces.length + room.length === 0 || pieces.some(({ length }) => length === 0) || room.includes(0))
      throw new RangeError(
        'a request has at least one buffer, and none without bytes: give it some to read, or room',
      );
    const readable = pieces.map((piece) => this.allocator.alloc(piece.length, 1));
    const writable = room.map((length) => this.allocator.alloc(length, 1));
    const sent: SentRequest = { readable, writable };
    if (!this.queue.add(readable, writable, sent)) {
      this.#free(sent);
      return undefined;
    }
    pieces.forEach((piece, i) => void this.memory.write(readable[i]!.address, piece));
    return sent;
  }

  /** Shows the device what was sent. @returns whether it wants a kick. */
  publish(): boolean {
    return this.queue.publish();
  }

  /** Takes the next answer; `undefined` when there is none. */
  receive(): Answer | undefined {
    const used = this.queue.reap();
    if (used === undefined) return undefined;
    const bytes = new Uint8Array(used.written);
    let done = 0;
    for (const { address, length } of used.token.writable) {
      const here = Math.min(length, used.written - done);
      this.memory.read(address, bytes, done, here);
      done += here;
    }
    this.#free(used.token);
    return { request: used.token, bytes };
  }

  #free(request: SentRequest): void {
    for (const buffer of [...request.readable, ...request.writable]) this.allocator.free(buffer);
  }
}
