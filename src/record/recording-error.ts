/** A recording that is none, or is cut or damaged from here on: what came before was read. */
export class RecordingError extends Error {
  override readonly name = 'RecordingError';
  /** Bytes from the file's start. */
  readonly offset: number;

  /** @param what - is wrong there. */
  constructor(what: string, offset: number) {
    super(`${what} (at byte ${offset})`);
    this.offset = offset;
  }
}
