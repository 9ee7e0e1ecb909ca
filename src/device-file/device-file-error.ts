/** A device file that can't be used. The message is one line: where, and what is wrong there. */
export class DeviceFileError extends Error {
  override readonly name = 'DeviceFileError';
  /** Lines that show more: the author's part of the stack, and the code of the place. */
  readonly detail: readonly string[];

  constructor(message: string, detail: readonly string[] = []) {
    super(message);
    this.detail = detail;
  }
}
