/**
 * A device's configuration space (VIRTIO 1.3 §2.5): little-endian bytes, a generation that tells a driver whether a read
 * in pieces was torn (§2.5.1), and a mask of what the driver may write.
 */
export class ConfigSpace {
  readonly #bytes: Uint8Array;
  readonly #writable: Uint8Array;
  /** What is one value, and passes to a new device as a whole. */
  readonly #fields: readonly (readonly [from: number, to: number])[];
  /** The bytes as they were when a device was made, to tell what was written since. */
  #initial: Uint8Array | undefined;
  /** Of `fields`, those that were written. */
  readonly #changed = new Set<number>();
  #generation = 0;
  /** The device's access to the bytes. Call `changed` after a change. */
  readonly view: DataView;

  /**
   * @param size - bytes, 0..4096.
   * @param writable - the byte ranges `[from, to)` that a driver may write; none unless told.
   * @param fields - the byte ranges that are one value each; every byte unless told.
   */
  constructor(
    size: number,
    writable: readonly (readonly [from: number, to: number])[] = [],
    fields?: readonly (readonly [from: number, to: number])[],
  ) {
    if (!Number.isInteger(size) || size < 0 || size > 4096) {
      throw new RangeError(`a configuration space has 0 to 4096 bytes, not ${size}`);
    }
    this.#bytes = new Uint8Array(size);
    this.#writable = new Uint8Array(size);
    for (const [from, to] of writable) this.#writable.fill(1, from, to);
    this.#fields = fields ?? Array.from({ length: size }, (_, at) => [at, at + 1]);
    this.view = new DataView(this.#bytes.buffer);
  }

  /** From now on what is written is told from what was there. Of one that was told already, nothing is forgotten. */
  settle(): void {
    this.#initial ??= this.#bytes.slice();
  }

  /** Bytes. */
  get size(): number {
    return this.#bytes.length;
  }

  /** Differs whenever the bytes may have changed; a driver sees its low 8 bits. */
  get generation(): number {
    return this.#generation;
  }

  /** Counts a change that the device made to the bytes. */
  changed(): void {
    this.#generation = (this.#generation + 1) >>> 0;
  }

  /** Copies bytes `[offset, offset + length)` out; what lies past the end reads as zero. */
  read(offset: number, length: number): Uint8Array {
    const out = new Uint8Array(length);
    if (offset < this.size) out.set(this.#bytes.subarray(offset, offset + length));
    return out;
  }

  /**
   * Takes a driver's write. Bytes that are read-only or past the end are left as they are.
   *
   * @returns whether a byte that the driver may write was among them.
   */
  write(offset: number, bytes: Uint8Array): boolean {
    let any = false;
    for (let i = 0; i < bytes.length; i++) {
      if (this.#writable[offset + i] !== 1) continue;
      this.#bytes[offset + i] = bytes[i]!;
      any = true;
    }
    return any;
  }

  /** Goes on with the bytes that another process had, if there are as many. */
  restore(bytes: Uint8Array): void {
    if (bytes.length !== this.size) return;
    this.settle();
    this.#bytes.set(bytes);
  }

  /** Goes on where the space of a replaced device was: with what its driver and it wrote there, and its generation. Of one size. */
  takeOver(from: ConfigSpace): void {
    for (const [index, [start, end]] of this.#fields.entries()) {
      const written = this.#writable[start] === 1 && from.#writable[start] === 1;
      if (!written && !from.#wrote(start, end)) continue;
      this.#changed.add(index);
      this.#bytes.set(from.#bytes.subarray(start, end), start);
    }
    this.#generation = from.#generation;
  }

  /** Whether any of the fields in these bytes was written since it was made. */
  #wrote(start: number, end: number): boolean {
    return this.#fields.some(
      ([from, to], index) =>
        from < end && to > start && (this.#changed.has(index) || this.#differs(from, to)),
    );
  }

  #differs(start: number, end: number): boolean {
    const initial = this.#initial;
    if (initial === undefined) return false;
    for (let at = start; at < end; at++) if (initial[at] !== this.#bytes[at]) return true;
    return false;
  }

  /** Whether a driver reads the same from both. */
  equals(other: ConfigSpace): boolean {
    return this.size === other.size && this.#bytes.every((byte, i) => byte === other.#bytes[i]);
  }
}
