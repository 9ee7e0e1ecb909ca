/** Bytes of memory that one connection may share, unless told: more than any guest has, and little of what a process can address. */
export const DEFAULT_MAX_MEMORY: number = 2 ** 42;

/** What to say of a connection that shares more than it may; `undefined` when it does not. Both are in bytes. */
export function overLimit(total: number, most: number = DEFAULT_MAX_MEMORY): string | undefined {
  if (total <= most) return undefined;
  return `${total} bytes of memory in all, where a connection may share ${most} (--max-memory)`;
}
