import { INFLIGHT_ALIGNMENT } from '../inflight.js';

/** `QueueRegionSplit` of the vhost-user document, from its `desc_num` on: byte offsets. All fields are little-endian. */
export const QUEUE_REGION_SPLIT = {
  /** le16: the head of the list of those that were used last. */
  last_batch_head: 12,
  /** le16: the used index as of when all of those were marked so. */
  used_idx: 14,
  /** An entry for each descriptor. */
  desc: 16,
} as const;

/** `DescStateSplit`, 16 bytes, by head. */
export const DESC_STATE_SPLIT = {
  /** u8: 1 while the chain is in flight. */
  inflight: 0,
  /** le16: the one that was used before it, in the list of those that were used last. */
  next: 6,
  /** le64: those that were taken earlier have lower ones. */
  counter: 8,
} as const;
export const DESC_STATE_SPLIT_SIZE = 16;

/** Bytes of a queue's region, up to where the next one begins. */
export function splitRegionSize(entries: number): number {
  const size = QUEUE_REGION_SPLIT.desc + DESC_STATE_SPLIT_SIZE * entries;
  return Math.ceil(size / INFLIGHT_ALIGNMENT) * INFLIGHT_ALIGNMENT;
}
