import { rmSync } from 'node:fs';
import { connect, createServer, type Server as NetServer, type Socket } from 'node:net';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { Option } from 'commander';
import { printable } from '../lines/printable.js';
import type { Server } from '../serve.js';
import { ControlDesk } from './control-desk.js';
import { UsageError } from './usage-error.js';

/** Characters of one request; nobody has more to say. */
const LONGEST = 64 * 1024;
const MOST_CONNECTIONS = 16;

/** Who is asked; see `ControlDesk.ask`. */
export type Asked = Pick<ControlDesk, 'ask'>;

/** Where devices may be asked things, until it is closed. */
export interface Controls {
  close(): void;
}

/** `--control`, for the commands that serve. */
export function controlOption(): Option {
  return new Option(
    '--control <socket>',
    "take what 'virtio-misc ctl SOCKET' asks of the devices; - for lines of standard input; may be given several times",
  ).argParser((place: string, before: readonly string[] = []) => [...before, place]);
}

/** Opens the places that `--control` names. @throws UsageError when a socket can't be had. */
export async function openControls(
  places: readonly string[] = [],
  asked: readonly Server[] | Asked,
): Promise<Controls> {
  const desk = 'ask' in asked ? asked : new ControlDesk(() => asked.flatMap(({ devices }) => devices));
  const open: Controls[] = [];
  const close = (): void => {
    for (const place of open.splice(0)) place.close();
  };
  try {
    for (const place of new Set(places))
      open.push(place === '-' ? readLines(desk) : await listen(resolve(place), desk));
  } catch (error) {
    close();
    throw error;
  }
  process.once('exit', close);
  return { close };
}

/** What stands in the words of a line, as a shell has it: quotes keep blanks. */
export function wordsOf(line: string): string[] {
  return [...line.matchAll(/(?:"([^"]*)"|'([^']*)'|([^\s"']+))/g)].map(([, a, b, c]) => a ?? b ?? c ?? '');
}

function readLines(desk: Asked): Controls {
  const lines = createInterface({ input: process.stdin });
  lines
    .on('error', () => {})
    .on('line', (line) => {
      const words = wordsOf(line);
      if (words.length === 0) return;
      desk.ask(words).then(
        (answer) => answer !== '' && process.stdout.write(`${answer}\n`),
        (error: Error) => process.stderr.write(`virtio-misc: ${printable(error.message)}\n`),
      );
    });
  return {
    close() {
      lines.close();
      process.stdin.destroy();
    },
  };
}

async function listen(path: string, desk: Asked): Promise<Controls> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket)).on('error', () => {});
    serve(socket, desk);
  });
  server.maxConnections = MOST_CONNECTIONS;
  if (!(await bind(server, path))) {
    if (await answers(path)) throw new UsageError(`--control: another program listens at ${path}`);
    rmSync(path, { force: true });
    await bind(server, path);
  }
  return {
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** @returns false when something has the path. */
function bind(server: NetServer, path: string): Promise<boolean> {
  return new Promise((done, reject) => {
    // Whoever may ask is this user, and nobody else.
    const mask = process.umask(0o177);
    server
      .once('listening', () => done(true))
      .once('error', (error: NodeJS.ErrnoException) => {
        if (error.code === 'EADDRINUSE') done(false);
        else reject(new UsageError(`--control: can't listen at ${path}: ${error.message}`));
      });
    server.listen(path);
    process.umask(mask);
  });
}

/** Whether somebody listens there, or it is no socket of anybody's. */
function answers(path: string): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(path, () => {
      socket.destroy();
      done(true);
    });
    socket.on('error', (error: NodeJS.ErrnoException) => done(error.code !== 'ECONNREFUSED'));
  });
}

/** Requests and answers are JSON, one a line: `["target","64M"]`; `{"said":"..."}` or `{"refused":"..."}`. */
function serve(socket: Socket, desk: Asked): void {
  let text = '';
  socket.setEncoding('utf8').on('data', (piece: string) => {
    text += piece;
    const lines = text.split('\n');
    text = lines.pop()!;
    if (text.length > LONGEST) socket.destroy();
    for (const line of lines)
      void answer(line, desk).then((said) => socket.write(`${JSON.stringify(said)}\n`));
  });
}

async function answer(line: string, desk: Asked): Promise<{ said: string } | { refused: string }> {
  let words: unknown;
  try {
    words = JSON.parse(line);
  } catch {
    words = undefined;
  }
  if (!Array.isArray(words) || !words.every((word) => typeof word === 'string'))
    return { refused: 'a request is a list of words' };
  try {
    return { said: await desk.ask(words) };
  } catch (error) {
    return { refused: (error as Error).message };
  }
}
