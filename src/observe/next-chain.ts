import type { GuestAddress } from '../memory/address.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import type { DeviceQueueOptions } from '../virtqueue/device-queue-options.js';
import { HeldChain } from '../virtqueue/held-chain.js';
import * as packed from '../virtqueue/packed/layout.js';
import { Place } from '../virtqueue/packed/place.js';
import { PackedRing, walkPackedChain } from '../virtqueue/packed/walk.js';
import * as split from '../virtqueue/split/layout.js';
import { walkChain } from '../virtqueue/split/walk.js';
import { descriptorsOf } from './descriptors-of.js';
import type { SeenDescriptor } from './event.js';

/** A chain that waits in the ring, as it is now: its driver may still change it. */
export interface NextChain {
  readonly head: number;
  readonly readable: number;
  readonly writable: number;
  readonly descriptors: readonly SeenDescriptor[];
  /** The first of the readable bytes. */
  readonly bytes: Uint8Array;
}

/**
 * Looks at the chain that `pop` would take.
 *
 * @param base - of the ring.
 * @param most - bytes that are wanted.
 * @returns `undefined` when there is none.
 * @throws VirtqueueError or MemoryError, as `pop` does.
 */
export function nextChain(
  queue: DeviceQueueOptions,
  isPacked: boolean,
  base: number,
  most: number,
): NextChain | undefined {
  const chain = isPacked ? nextPacked(queue, base) : nextSplit(queue, base);
  if (chain === undefined) return undefined;
  const { head, readable, writable } = chain;
  const bytes = new Uint8Array(Math.min(readable, most));
  chain.start();
  chain.read(bytes);
  return { head, readable, writable, descriptors: descriptorsOf(chain), bytes };
}

function nextSplit(queue: DeviceQueueOptions, base: number): HeldChain | undefined {
  const { memory, size, descriptorArea, driverArea, indirect } = queue;
  if (read16(memory, driverArea + split.VIRTQ_AVAIL.idx) === (base & 0xffff)) return undefined;
  const head = read16(memory, driverArea + split.VIRTQ_AVAIL.ring + 2 * (base & (size - 1)));
  // The queue itself says what is wrong with it.
  if (head >= size) return undefined;
  const chain = new HeldChain(memory, head);
  walkChain(chain, memory, memory.view(descriptorArea, split.descriptorAreaSize(size)), size, indirect);
  return chain;
}

function nextPacked(queue: DeviceQueueOptions, base: number): HeldChain | undefined {
  const { memory, size, descriptorArea, indirect } = queue;
  const place = new Place(size, base);
  const at = descriptorArea + packed.PVIRTQ_DESC_SIZE * place.offset;
  const flags = read16(memory, at + packed.PVIRTQ_DESC.flags);
  if ((flags & packed.OWNER_FLAGS) !== packed.availableFlags(place.wrap)) return undefined;
  const id = read16(memory, at + packed.PVIRTQ_DESC.id);
  const room = size - place.from(new Place(size, base >>> 16));
  if (room <= 0) return undefined;
  const chain = new HeldChain(memory, id);
  const view = memory.view(descriptorArea, packed.descriptorAreaSize(size));
  const ring = new PackedRing(memory, view, size, indirect);
  chain.head = walkPackedChain(chain, ring, place.offset, (flags << 16) | id, room) & 0xffff;
  return chain;
}

const two = new Uint8Array(2);

function read16(memory: GuestMemory, address: number): number {
  memory.read(address as GuestAddress, two);
  return two[0]! | (two[1]! << 8);
}
