/** The operating system refused something. The message says what was tried on what. */
export class OsError extends Error {
  override readonly name = 'OsError';
  /** The errno's name, such as `ENOENT`. */
  readonly code: string;
  /** The system call that failed, or whose result could not be used. */
  readonly syscall: string;

  /** @param tried - what could not be done, such as `listen on /run/a.sock`, with the reason if the code doesn't tell. */
  constructor(code: string, syscall: string, tried: string) {
    super(`can't ${tried} (${syscall}: ${code})`);
    this.code = code;
    this.syscall = syscall;
  }
}
