import { described } from './described.js';
import { didYouMean } from './nearest.js';

/** What an option may be: one of some texts, or what a function says of it (`undefined` when it is right). */
export type OptionRule = readonly string[] | ((value: unknown) => string | undefined);

/**
 * Looks whether options can be meant.
 *
 * @param where - who takes them, for messages.
 * @throws TypeError for an option that nobody knows, or of another type; RangeError for one of a few values that is another.
 */
export function checkOptions(
  given: unknown,
  where: string,
  rules: Readonly<Record<string, OptionRule>>,
): void {
  if (typeof given !== 'object' || given === null || Array.isArray(given))
    throw new TypeError(`${where} takes its options as an object, not ${described(given)}`);
  known(given, Object.keys(rules), where);
  for (const [name, rule] of Object.entries(rules)) {
    const value = (given as Record<string, unknown>)[name];
    if (value === undefined) continue;
    if (typeof rule === 'function') {
      const wanted = rule(value);
      if (wanted !== undefined)
        throw new TypeError(`${where}: ${name} is ${wanted}, not ${described(value)}`);
    } else if (!rule.includes(value as string)) {
      const near = typeof value === 'string' ? didYouMean(value, rule) : '';
      const all = rule.map((one) => `'${one}'`).join(' or ');
      throw new RangeError(`${where}: ${name} is ${all}, not ${described(value)}${near}`);
    }
  }
}

/** @throws TypeError for a key that is not among these. */
export function known(given: object, keys: readonly string[], where: string): void {
  for (const key of Object.keys(given)) {
    if (!keys.includes(key)) throw new TypeError(`${where} has an unknown '${key}'${didYouMean(key, keys)}`);
  }
}

/** For what is looked at elsewhere. */
export const anything: OptionRule = () => undefined;

export const aFunction: OptionRule = (value) => (typeof value === 'function' ? undefined : 'a function');

/** Milliseconds that a device waits. */
export const aTime: OptionRule = (value) =>
  typeof value === 'number' && Number.isFinite(value) && value > 0 ? undefined : 'a number of ms above 0';

export const aSignal: OptionRule = (value) =>
  typeof (value as AbortSignal | null)?.addEventListener === 'function' ? undefined : 'an AbortSignal';
