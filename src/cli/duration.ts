import { InvalidArgumentError } from 'commander';
import ms from 'ms';

/** What `<time>` means, for help texts. */
export const TIME_HELP = '<time> is a number with its unit: 500ms, 3s, 1m, 2h.';

/** A `<time>`. @returns ms */
export function duration(text: string): number {
  const value = /^\d/.test(text) ? ms(text as ms.StringValue) : undefined;
  if (value === undefined || !(value > 0) || /^[\d.]+$/.test(text))
    throw new InvalidArgumentError('write a time such as 500ms, 3s or 1m.');
  return value;
}
