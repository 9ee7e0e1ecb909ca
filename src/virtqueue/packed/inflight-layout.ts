import { INFLIGHT_ALIGNMENT } from '../inflight.js';

/**
 * `QueueRegionPacked` of the vhost-user document, from its `desc_num` on: byte offsets. All fields are little-endian. Of each pair the first
 * is what will be when the driver sees what is just handed back, the old one what is without that.
 */
export const QUEUE_REGION_PACKED = {
  /** le16: the first entry of the free ones. */
  free_head: 12,
  old_free_head: 14,
  /** le16: where the next used descriptor goes. */
  used_idx: 16,
  old_used_idx: 18,
  /** u8: the wrap counter there. */
  used_wrap_counter: 20,
  old_used_wrap_counter: 21,
  /** As many entries as there are descriptors. */
  desc: 32,
} as const;

/** `DescStatePacked`, 32 bytes: a descriptor as it was in the ring when it was taken. */
export const DESC_STATE_PACKED = {
  /** u8: 1 in the first entry of a chain that is in flight. */
  inflight: 0,
  /** le16: the next free entry, or that of the chain's next descriptor. */
  next: 2,
  /** le16, in the first entry of a chain: the last one. */
  last: 4,
  /** le16, in the first entry of a chain: how many it has. */
  num: 6,
  /** le64, in the first entry of a chain: those that were taken earlier have lower ones. */
  counter: 8,
  /** le16. */
  id: 16,
  /** le16. */
  flags: 18,
  /** le32. */
  len: 20,
  /** le64. */
  addr: 24,
} as const;
export const DESC_STATE_PACKED_SIZE = 32;

/** Bytes of a queue's region, up to where the next one begins. */
export function packedRegionSize(entries: number): number {
  const size = QUEUE_REGION_PACKED.desc + DESC_STATE_PACKED_SIZE * entries;
  return Math.ceil(size / INFLIGHT_ALIGNMENT) * INFLIGHT_ALIGNMENT;
}
