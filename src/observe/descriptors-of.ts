import type { HeldChain } from '../virtqueue/held-chain.js';
import type { SeenDescriptor } from './event.js';

/** Descriptors that are told of, of one chain. */
const DESCRIPTORS = 64;

/** Where the bytes of a chain are. */
export function descriptorsOf(chain: HeldChain): SeenDescriptor[] {
  const descriptors: SeenDescriptor[] = [];
  const count = Math.min(chain.segments, DESCRIPTORS);
  let before = 0;
  for (let i = 0; i < count; i++) {
    const length = chain.lengthOf(i);
    descriptors.push({ address: chain.addressOf(i), length, writable: before >= chain.readable });
    before += length;
  }
  return descriptors;
}
