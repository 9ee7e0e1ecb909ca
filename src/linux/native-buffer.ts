import koffi from 'koffi';

/**
 * Zeroed memory at an address that never changes, for the C library to read and write. Whoever passes `address` on
 * keeps the buffer referenced for as long as the address is in use.
 */
export class NativeBuffer {
  readonly bytes: Uint8Array;
  readonly data: DataView;
  readonly address: number;

  /** @param size - bytes. */
  constructor(size: number) {
    // An ArrayBuffer made by itself has its bytes outside of the heap; those of a small typed array may be moved.
    const memory = new ArrayBuffer(size);
    this.bytes = new Uint8Array(memory);
    this.data = new DataView(memory);
    this.address = Number(koffi.address(memory));
  }

  /** A C `long`, `size_t` or pointer: written without a BigInt. A safe integer, not negative. */
  setLong(offset: number, value: number): void {
    this.data.setUint32(offset, value % 0x1_0000_0000, true);
    this.data.setUint32(offset + 4, Math.floor(value / 0x1_0000_0000), true);
  }
}
