import { createRequire } from 'node:module';
import { type Logger, pino } from 'pino';
import type { Connection } from '../connections.js';
import { printable } from '../lines/printable.js';
import type { LogContext } from '../virtio/log-context.js';
import type { Output } from './output.js';

export type { Logger } from 'pino';

/** Where the log is written. */
export interface LogOutput {
  write(text: string): void;
  /** The line that says what was dropped. */
  notice: Output['notice'];
}

/** What a line of the log is about. */
export interface LineContext extends LogContext, Partial<Connection> {
  readonly device?: string;
}

/**
 * The program's log: lines for people on a terminal (or when asked), JSON otherwise. What would steer a terminal is escaped in all of
 * it, because peers have their say in it.
 */
export function makeLog(
  output: LogOutput,
  format: 'auto' | 'pretty' | 'json' = 'auto',
  level: 'info' | 'trace' = 'info',
): Logger {
  const people = format === 'pretty' || (format === 'auto' && process.stderr.isTTY);
  const encode = people ? forPeople() : forPrograms;
  output.notice = (dropped, why) => {
    const msg = `${dropped} ${dropped === 1 ? 'line was' : 'lines were'} dropped: ${why}`;
    return encode(`${JSON.stringify({ level: 40, time: Date.now(), dropped, msg })}\n`);
  };
  return pino({ base: null, level }, { write: (json) => output.write(encode(json)) });
}

function forPeople(): (json: string) => string {
  // Loaded when somebody is to read it: it takes a while.
  const { prettyFactory } = createRequire(import.meta.url)('pino-pretty') as typeof import('pino-pretty');
  const pretty = prettyFactory({
    colorize: process.stderr.isTTY,
    translateTime: 'SYS:HH:MM:ss.l',
    // What a line says in words already.
    ignore: 'pid,hostname,head,readable,writable,written,request,response,us,dropped',
    singleLine: true,
  });
  const shown = (_: string, value: unknown): unknown =>
    typeof value === 'string' ? printable(value) : value;
  return (json) => {
    const { detail = [], ...entry } = JSON.parse(json, shown) as { detail?: readonly string[] };
    return pretty(entry) + detail.map((line) => `    ${line}\n`).join('');
  };
}

/** C0 controls are escaped already. What is left of the others can only be inside of strings. */
function forPrograms(json: string): string {
  return json.replace(
    /[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
