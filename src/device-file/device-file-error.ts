/** A device file that can't be used. The message is one line: where, and what is wrong there. */
export class DeviceFileError extends Error {
  override readonly name = 'DeviceFileError';
}
