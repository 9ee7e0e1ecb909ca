import { printable } from '../lines/printable.js';
import type { Monitor, Print } from './monitor.js';

/**
 * Prints a line of a device's for its user. Given as a function, it is made only if somebody reads it, of the values that come with it: a
 * function that is written once, and not anew for each line, costs a busy device least.
 */
export type PrintLine = <V extends readonly unknown[]>(
  line: string | ((...values: V) => string),
  ...values: V
) => void;

/**
 * What a device prints with.
 *
 * @param print - who reads the lines, if anybody does.
 * @param monitor - who may want to hear them, also those that nobody else reads.
 */
export function printLine(print: Print | undefined, monitor: Monitor | undefined): PrintLine {
  if (monitor?.printed === undefined) return print === undefined ? unread : printTo(print);
  const hears = (line: string): void => monitor.printed!(line);
  const full = (): boolean => monitor.full?.() === true;
  return print === undefined
    ? printTo(Object.assign(hears, { full }))
    : tellBoth(print, Object.assign(hears, { full }));
}

/** Where nobody reads lines: nothing, which the engine sees through, so that the functions that would make them are not made either. */
function unread(): void {}

function printTo(print: Print): PrintLine {
  return (line, ...values) => {
    if (print.full?.()) return;
    print(printable(typeof line === 'function' ? line(...values) : line));
  };
}

function tellBoth(print: Print, hears: Print): PrintLine {
  return (line, ...values) => {
    const heard = hears.full?.() !== true;
    const printed = print.full?.() !== true;
    if (!heard && !printed) return;
    const text = printable(typeof line === 'function' ? line(...values) : line);
    if (heard) hears(text);
    if (printed) print(text);
  };
}
