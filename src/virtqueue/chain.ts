/**
 * One descriptor chain: a request as the driver laid it out (VIRTIO 1.3 §2.6.4), the device-readable bytes first, the
 * device-writable ones after. Where the driver cut it into descriptors is not visible: reads and writes cross borders.
 *
 * All multi-byte values are little-endian. The bytes live in guest memory that the driver may change meanwhile: read
 * each field once. Reads and writes throw `MemoryError` when the guest took the memory away, and `TypeError` when the
 * chain was pushed already or its queue was closed.
 */
export interface Chain {
  /** Which it is of those in flight, 0..size - 1: in a split ring the index of its first descriptor, in a packed one the buffer's id. */
  readonly head: number;
  /** Device-readable bytes in all. */
  readonly readable: number;
  /** Device-writable bytes in all. */
  readonly writable: number;
  /** Device-readable bytes that were read so far. */
  readonly consumed: number;
  /** Device-writable bytes that were written so far, from the first on. Becomes `used.len`. */
  readonly written: number;

  /**
   * Reads the next bytes into `into[start..start + length)`.
   *
   * @returns the number of bytes read: less than `length` only when the chain has no more.
   */
  read(into: Uint8Array, start?: number, length?: number): number;
  /** Reads all that is left, into an array of its own. Check `readable` before: a driver can name up to 4 GiB. */
  readRest(): Uint8Array;
  /** Skips bytes of the device-readable part; returns how many there were to skip. */
  skip(length: number): number;

  /**
   * Writes the next bytes from `from[start..start + length)`.
   *
   * @returns the number of bytes written: less than `length` only when the chain has no more room.
   */
  write(from: Uint8Array, start?: number, length?: number): number;
}
