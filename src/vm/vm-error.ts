/**
 * - `HOST`: this machine lacks something, and the message says what to do.
 * - `DOWNLOAD`: Debian's archive, or apt.
 * - `BUILD`: a module or program for the guest did not build; the compiler's words are in the message.
 * - `QEMU`: QEMU refused to start, or died.
 * - `PANIC`, `HANG`, `GONE`: the guest panicked, stopped answering, or ended before its command did.
 * - `ABORTED`: the caller's signal.
 */
export type VmErrorCode = 'HOST' | 'DOWNLOAD' | 'BUILD' | 'QEMU' | 'PANIC' | 'HANG' | 'GONE' | 'ABORTED';

/** No guest, or a guest that failed; not the exit code of a command that ran in one. */
export class VmError extends Error {
  override readonly name = 'VmError';
  readonly code: VmErrorCode;

  constructor(code: VmErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
