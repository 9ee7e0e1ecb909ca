import { didYouMean } from './nearest.js';

/** Something that a person says about a device, as text: an option of it, or what goes with a command to it. */
export interface Parameter<T> {
  /** What is written for it in help texts, such as `<size>`. */
  readonly placeholder: string;
  /** One line for people. */
  readonly help: string;
  /** What it is when nobody says it; without one it must be said. */
  readonly fallback?: T | undefined;
  /** @throws RangeError that says what to write instead. */
  parse(text: string): T;
}

/** Parameters by name. */
export type Parameters = Readonly<Record<string, Parameter<unknown>>>;

/** What they were said to be. */
export type Said<P extends Parameters> = {
  readonly [K in keyof P]: P[K] extends Parameter<infer T> ? T : never;
};

const SIZES: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };
const TIMES: Readonly<Record<string, number>> = { ns: 1, us: 1e3, ms: 1e6, s: 1e9, m: 60e9, h: 3600e9 };

function made<T>(
  placeholder: string,
  help: string,
  fallback: T | undefined,
  parse: (text: string) => T,
): Parameter<T> {
  return { placeholder, help, fallback, parse };
}

/** The kinds of parameters. Each takes a line of help, and what it is when nobody says it; without that it must be said. */
export const parameter = {
  /** Any text. */
  text: (help: string, fallback?: string): Parameter<string> =>
    made('<text>', help, fallback, (text) => text),

  /** A whole number. */
  number: (
    help: string,
    fallback?: number,
    { least = 0, most = Number.MAX_SAFE_INTEGER }: { least?: number; most?: number } = {},
  ): Parameter<number> =>
    made('<n>', help, fallback, (text) => {
      const value = Number(text);
      if (/^-?\d+$/.test(text) && value >= least && value <= most) return value;
      throw new RangeError(`write a whole number from ${least} to ${most}`);
    }),

  /** Bytes, written as `512`, `64K`, `512M`, `4G` or `1T`. */
  size: (help: string, fallback?: number): Parameter<number> =>
    made('<size>', help, fallback, (text) => {
      const [, digits, unit] = /^(\d+)([KMGT]?)$/i.exec(text) ?? [];
      const size = Number(digits) * (SIZES[unit?.toUpperCase() ?? ''] ?? Number.NaN);
      if (Number.isSafeInteger(size)) return size;
      throw new RangeError('write a size such as 64K, 512M or 4G');
    }),

  /** Nanoseconds, written as `500ms`, `3s` or `1m`. */
  time: (help: string, fallback?: number): Parameter<number> =>
    made('<time>', help, fallback, (text) => {
      const [, number, unit] = /^(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)$/.exec(text) ?? [];
      const time = Number(number) * (TIMES[unit!] ?? Number.NaN);
      if (time >= 0) return time;
      throw new RangeError('write a time such as 500ms, 3s or 1m');
    }),

  /** `yes` or `no`. It is no unless said. */
  flag: (help: string, fallback = false): Parameter<boolean> =>
    made('yes|no', help, fallback, (text) => {
      if (['yes', 'on', 'true', '1'].includes(text)) return true;
      if (['no', 'off', 'false', '0'].includes(text)) return false;
      throw new RangeError('write yes or no');
    }),

  /** One of these words. */
  choice: <const W extends string>(help: string, words: readonly W[], fallback?: W): Parameter<W> =>
    made(words.join('|'), help, fallback, (text) => {
      if ((words as readonly string[]).includes(text)) return text as W;
      throw new RangeError(`write one of ${words.join(', ')}${didYouMean(text, words)}`);
    }),
};

/**
 * What was said, by the parameters.
 *
 * @param what - what each of them is called in messages, such as `option`.
 * @throws RangeError for one that is unknown, missing, or can't be read.
 */
export function readParameters<P extends Parameters>(
  parameters: P,
  texts: Readonly<Record<string, string>>,
  what: string,
): Said<P> {
  const names = Object.keys(parameters);
  const unknown = Object.keys(texts).find((name) => !Object.hasOwn(parameters, name));
  if (unknown !== undefined) {
    const near = didYouMean(unknown, names);
    const all = names.length === 0 ? ', and none at all' : `: there is ${names.join(', ')}`;
    throw new RangeError(`there is no ${what} '${unknown}'${near || all}`);
  }
  const values: Record<string, unknown> = {};
  for (const [name, { fallback, parse, placeholder }] of Object.entries(parameters)) {
    const text = texts[name];
    if (text === undefined && fallback === undefined)
      throw new RangeError(`the ${what} '${name}' is missing: ${name}=${placeholder}`);
    try {
      values[name] = text === undefined ? fallback : parse(text);
    } catch (error) {
      throw new RangeError(`${what} '${name}' is '${text}': ${(error as Error).message}`);
    }
  }
  return values as Said<P>;
}
