import { STATUS, type Status } from './wire.js';

export type MiscErrorCode = Exclude<keyof typeof STATUS, 'OK'> | 'BAD_STATUS';

const TEXT: Record<MiscErrorCode, string> = {
  UNSUPPORTED: 'it does not support this request',
  INVALID: 'it found the request malformed',
  EXISTS: 'a timer with this id exists',
  NOT_FOUND: 'there is no such timer',
  NO_SPACE: 'it has no room for another timer',
  BAD_STATUS: 'it answered with a status that does not exist',
};

/** The device refused a request. */
export class MiscError extends Error {
  override readonly name = 'MiscError';
  readonly code: MiscErrorCode;

  constructor(code: MiscErrorCode) {
    super(`virtio-misc refused the timer: ${TEXT[code]}`);
    this.code = code;
  }

  /** @returns the error for a status; `undefined` for OK. */
  static of(status: number): MiscError | undefined {
    if (status === STATUS.OK) return undefined;
    const name = (Object.keys(STATUS) as (keyof typeof STATUS)[]).find(
      (key) => STATUS[key] === (status as Status),
    );
    return new MiscError(name === undefined || name === 'OK' ? 'BAD_STATUS' : name);
  }
}
