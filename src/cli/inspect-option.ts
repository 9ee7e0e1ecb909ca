import { InvalidArgumentError, Option } from 'commander';
import type { Inspector } from '../inspector-page.js';
import { UsageError } from './usage-error.js';

/** What `--inspect` and `--inspect-host` told. */
export interface InspectOptions {
  /** A port; `true` for any. */
  readonly inspect?: number | true;
  readonly inspectHost?: string;
}

/** `--inspect`, for the commands that serve. */
export function inspectOption(): Option {
  return new Option(
    '--inspect [port]',
    'serve a page on 127.0.0.1 that shows rings and requests live, and can hold them; any port unless told',
  ).argParser(readPort);
}

/** `--inspect-host`. */
export function inspectHostOption(): Option {
  return new Option(
    '--inspect-host <address>',
    'serve that page on this address instead: whoever has its URL can hold the devices',
  );
}

/** @throws UsageError for what can't be meant. */
export function checkInspect({ inspect, inspectHost }: InspectOptions): void {
  if (inspect === undefined && inspectHost !== undefined)
    throw new UsageError('--inspect-host needs --inspect');
}

/**
 * Opens the page, if it is wanted.
 *
 * @throws UsageError when its port can't be had.
 */
export async function startInspector(options: InspectOptions, title: string): Promise<Inspector | undefined> {
  checkInspect(options);
  const { inspect } = options;
  if (inspect === undefined) return undefined;
  const { openInspector } = await import('../inspector-page.js');
  return listenFor({ ...options, inspect }, (port, host) => openInspector({ port, host, title }));
}

/** Opens something where the page is to be. @throws UsageError when its port can't be had. */
export async function listenFor<T>(
  { inspect, inspectHost }: InspectOptions & { readonly inspect: number | true },
  open: (port: number, host: string) => Promise<T>,
): Promise<T> {
  const port = inspect === true ? 0 : inspect;
  return open(port, inspectHost ?? '127.0.0.1').catch((error: unknown) => {
    throw new UsageError(`--inspect: ${whyNot(error, port, inspectHost)}`);
  });
}

/** A port as it is written. */
export function readPort(text: string): number {
  if (!/^\d+$/.test(text) || Number(text) > 65_535)
    throw new InvalidArgumentError('write a port from 0 to 65535.');
  return Number(text);
}

/** Why nothing can be listened for there. */
export function whyNot(error: unknown, port: number, host: string | undefined): string {
  const { code, message } = error as NodeJS.ErrnoException;
  const other = 'take another, or 0 for any';
  if (code === 'EADDRINUSE') return `port ${port} can't be had, another program has it: ${other}`;
  if (code === 'EACCES') return `port ${port} can't be had, it takes more rights: ${other}`;
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND' || code === 'EAI_AGAIN')
    return `${host} is no address of this machine`;
  return message;
}
