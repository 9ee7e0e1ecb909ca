/** Linux's error numbers that an error reply carries. */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EIO: 5,
  E2BIG: 7,
  EBADF: 9,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  EINVAL: 22,
  ENOSPC: 28,
  ENOSYS: 38,
  ENOTSUP: 95,
} as const;

export type ErrnoName = keyof typeof ERRNO;

/** The peer sent a message that can't be obeyed: it gets an error reply, and the connection lives. */
export class VfioUserError extends Error {
  override readonly name = 'VfioUserError';
  readonly code: ErrnoName;

  constructor(code: ErrnoName, message: string) {
    super(message);
    this.code = code;
  }
}

/** The peer's bytes make no sense any more, or it did not answer: the connection ends. */
export class ConnectionError extends Error {
  override readonly name = 'ConnectionError';
  readonly code: 'FRAMING' | 'NEGOTIATION' | 'TIMEOUT' | 'PROTOCOL';

  constructor(code: 'FRAMING' | 'NEGOTIATION' | 'TIMEOUT' | 'PROTOCOL', message: string) {
    super(message);
    this.code = code;
  }
}
