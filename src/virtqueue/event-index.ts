/**
 * Whether an index that went from `from` to `to` (both 16 bit, wrapping) passed `event`: the other side asked to be told
 * when the entry at `event` is written (VIRTIO 1.3 §2.7.7.2, §2.7.10.1). Fewer than 65536 entries lie between the two.
 */
export function passesEvent(event: number, from: number, to: number): boolean {
  return ((to - event - 1) & 0xffff) < ((to - from) & 0xffff);
}
