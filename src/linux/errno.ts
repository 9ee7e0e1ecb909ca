import koffi from 'koffi';
import { OsError } from '../transports/os-error.js';

const names = new Map<number, string>();
for (const [name, value] of Object.entries(koffi.os.errno)) if (!names.has(value)) names.set(value, name);

/** The name of the error of the last call into the C library. Good only right after that call. */
export function lastError(): string {
  const errno = koffi.errno();
  return names.get(errno) ?? `errno ${errno}`;
}

/**
 * Passes the result of a call into the C library through, right after the call.
 *
 * @throws OsError when it is -1.
 */
export function check(result: number, syscall: string, tried: string): number {
  if (result === -1) throw new OsError(lastError(), syscall, tried);
  return result;
}
