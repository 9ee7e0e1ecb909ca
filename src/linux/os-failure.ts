import koffi from 'koffi';
import type { OsError } from '../transports/ports.js';

const names = new Map<number, string>();
for (const [name, value] of Object.entries(koffi.os.errno)) if (!names.has(value)) names.set(value, name);

/** The operating system refused something. The message says what was tried on what. */
export class OsFailure extends Error implements OsError {
  override readonly name = 'OsFailure';
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

/** The name of the error of the last call into the C library. Good only right after that call. */
export function lastError(): string {
  const errno = koffi.errno();
  return names.get(errno) ?? `errno ${errno}`;
}

/**
 * Passes the result of a call into the C library through, right after the call.
 *
 * @throws OsFailure when it is -1.
 */
export function check(result: number, syscall: string, tried: string): number {
  if (result === -1) throw new OsFailure(lastError(), syscall, tried);
  return result;
}
