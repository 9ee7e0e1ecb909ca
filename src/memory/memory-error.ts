/** `UNMAPPED`: no such guest memory. `OVERLAP`, `OUT_OF_RANGE`: a region that can't be. */
export type MemoryErrorCode = 'UNMAPPED' | 'OVERLAP' | 'OUT_OF_RANGE';

const TEXT: Record<MemoryErrorCode, string> = {
  UNMAPPED: 'is not guest memory',
  OVERLAP: 'overlaps another memory region',
  OUT_OF_RANGE: 'is no possible memory region',
};

/** The peer named guest memory that is not there, or regions that can't be. */
export class MemoryError extends Error {
  override readonly name = 'MemoryError';
  readonly code: MemoryErrorCode;
  /** Guest-physical address of the first byte. */
  readonly address: number;
  /** Bytes. */
  readonly length: number;

  constructor(code: MemoryErrorCode, address: number, length: number) {
    super(`0x${address.toString(16)} + ${length} bytes ${TEXT[code]}`);
    this.code = code;
    this.address = address;
    this.length = length;
  }
}
