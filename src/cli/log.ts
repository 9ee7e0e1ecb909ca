import { type Logger, pino } from 'pino';
import pretty from 'pino-pretty';

export type { Logger } from 'pino';

/** The program's log on stderr: lines for people on a terminal (or when asked), JSON otherwise. */
export function makeLog(
  format: 'auto' | 'pretty' | 'json' = 'auto',
  level: 'info' | 'trace' = 'info',
): Logger {
  const people = format === 'pretty' || (format === 'auto' && process.stderr.isTTY);
  const stream = people
    ? pretty({
        destination: 2,
        sync: true,
        colorize: process.stderr.isTTY,
        translateTime: 'SYS:HH:MM:ss.l',
        // What a chain's own line says already.
        ignore: 'pid,hostname,head,readable,writable,written,request,response,us',
        singleLine: true,
      })
    : pino.destination({ dest: 2, sync: true });
  return pino({ base: null, level }, stream);
}
