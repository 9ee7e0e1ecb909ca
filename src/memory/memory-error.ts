/**
 * `UNMAPPED`: no such guest memory. `DISTANT`: it can't be had at once. `UNBACKED`: the file that should hold it has no page for it. `OVERLAP`, `OUT_OF_RANGE`: a region that
 * can't be. `SUSPENDED`: the driver keeps the device from all memory for now (no bus mastering); whoever runs the device has it begin
 * anew with what it was at. `READ_ONLY`: it is not to be written to. `UNTRANSLATED`: it is not known yet what the driver means by this address, and has been asked.
 */
export type MemoryErrorCode =
  | 'UNMAPPED'
  | 'DISTANT'
  | 'SUSPENDED'
  | 'UNTRANSLATED'
  | 'UNBACKED'
  | 'READ_ONLY'
  | 'OVERLAP'
  | 'OUT_OF_RANGE';

const TEXT: Record<MemoryErrorCode, string> = {
  UNMAPPED: 'is not guest memory',
  DISTANT: 'is not shared, beside memory that is: it is not reached at once',
  UNBACKED: 'of the shared file can not be had: its file system has no page left for them',
  READ_ONLY: 'may only be read',
  SUSPENDED: 'can not be reached for now',
  UNTRANSLATED: 'is not translated for now',
  OVERLAP: 'overlaps another memory region',
  OUT_OF_RANGE: 'is no possible memory region',
};

/** The peer named guest memory that is not there, or regions that can't be. */
export class MemoryError extends Error {
  override readonly name = 'MemoryError';
  readonly code: MemoryErrorCode;
  /** Guest-physical address of the first byte; `NaN` for one above 2^53 - 1. `UNBACKED`: where it is in the file. */
  readonly address: number;
  /** Bytes. */
  readonly length: number;

  constructor(code: MemoryErrorCode, address: number, length: number) {
    const where = Number.isNaN(address) ? 'an address above 2^53 - 1' : `0x${address.toString(16)}`;
    super(`${where} + ${length} bytes ${TEXT[code]}`);
    this.code = code;
    this.address = address;
    this.length = length;
  }
}

/** Whether memory was out of reach for a while only. */
export function isSuspension(error: unknown): boolean {
  return error instanceof MemoryError && (error.code === 'SUSPENDED' || error.code === 'UNTRANSLATED');
}
