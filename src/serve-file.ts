import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { toStderr } from './bounded-stream.js';
import { type Connection, Connections } from './connections.js';
import type { FileServeOptions, FileServer } from './file-server.js';
import { Keeper } from './keeper/keeper/keeper.js';
import type { WorkerCommand } from './keeper/keeper/worker-process.js';
import { KEEPER_VARIABLE } from './keeper/worker/worker-line.js';
import { processLimiter } from './lines/process-limiter.js';
import { linuxOs } from './linux-only.js';
import {
  aFunction,
  anything,
  aSignal,
  aTime,
  checkOptions,
  type OptionRule,
} from './virtio/check-options.js';
import { described } from './virtio/described.js';
import type { LogContext } from './virtio/log-context.js';
import type { RingFeatures } from './virtio/ring-features.js';

const ELSEWHERE = 'for devices that run in this process: leave it out, or leave out keeper';

const OPTIONS: Readonly<Record<string, OptionRule>> = {
  keeper: (value) => (value === true ? undefined : 'true'),
  vhostUser: (value) =>
    typeof value === 'string' || typeof value === 'number' ? undefined : 'a path or a descriptor',
  vfioUser: (value) => (typeof value === 'string' ? undefined : 'a path'),
  vectors: (value) => (typeof value === 'number' ? undefined : 'a number'),
  maxMemory: (value) => (typeof value === 'number' && value >= 4096 ? undefined : 'a number of bytes'),
  poll: anything,
  inband: (value) => (typeof value === 'boolean' ? undefined : 'true or false'),
  features: (value) => (typeof value === 'object' ? undefined : 'an object'),
  set: (value) => (typeof value === 'object' ? undefined : 'an object of texts'),
  stuckAfter: aTime,
  print: (value) =>
    value === false ? undefined : 'false, or left out: the device prints in its own process',
  warn: aFunction,
  signal: aSignal,
  connected: aFunction,
  gone: aFunction,
  monitor: () => ELSEWHERE,
  restore: () => ELSEWHERE,
};

/** @see serve */
export async function serveFile(file: unknown, options: FileServeOptions): Promise<FileServer> {
  const path = pathOf(file);
  checkOptions(options, 'serve', OPTIONS);
  const { vhostUser, vfioUser, signal, stuckAfter, warn = toStderr } = options;
  signal?.throwIfAborted();
  if (vhostUser === undefined && vfioUser === undefined)
    throw new TypeError('say where to serve: vhostUser or vfioUser');
  const os = await linuxOs();
  const limiter = processLimiter<LogContext & Partial<Connection>>((line, about) => warn(line, about));
  const connections = new Connections();
  const command = commandOf(path, options);
  const keeper = new Keeper({
    os,
    places: [
      ...(vhostUser === undefined ? [] : [{ place: vhostUser, transport: 'vhost-user' as const }]),
      ...(vfioUser === undefined ? [] : [{ place: vfioUser, transport: 'vfio-user' as const }]),
    ],
    worker: command,
    spare: true,
    stuckAfter,
    info: () => {},
    warn: (line, about) => limiter.say(line, about),
    came: (connection) => {
      options.connected?.(connection.socket, connection);
      connections.came(connection);
    },
    left: (connection, reason) => {
      const error = reason === undefined ? undefined : new Error(reason);
      options.gone?.(connection.socket, error, connection);
      connections.went(connection, error);
    },
  });
  let end: () => void = () => {};
  const closed = new Promise<void>((done) => {
    end = done;
  });
  const close = (): void => {
    signal?.removeEventListener('abort', close);
    process.off('exit', close);
    connections.close();
    keeper.close();
    limiter.flush();
    os.close();
    end();
  };
  process.once('exit', close);
  signal?.addEventListener('abort', close, { once: true });
  const first = await keeper.start().catch((error: unknown) => {
    close();
    throw error;
  });
  if (typeof first !== 'string') {
    close();
    signal?.throwIfAborted();
    throw new Error(`${path} can't be served: its process ${first.words}`);
  }
  return {
    close,
    finished: Promise.race([keeper.finished, closed]),
    connections: ({ signal: wish } = {}) => connections.read(wish),
    upgrade: async () => void (await keeper.upgrade(command)),
    async save({ socket, standing = false } = {}) {
      const { fd, size } = await keeper.save(socket, standing);
      const mapping = os.map(fd, 0, size, true);
      const bytes = new Uint8Array(size);
      mapping.view.copyOut(0, bytes, 0, size);
      mapping.release();
      return bytes;
    },
    async [Symbol.asyncDispose]() {
      close();
    },
  };
}

/** @throws TypeError for anything but a file. */
function pathOf(file: unknown): string {
  if (typeof file === 'string' && file !== '') return resolve(file);
  if (file instanceof URL && file.protocol === 'file:') return fileURLToPath(file);
  const given = typeof file === 'function' ? 'what makes one in this process' : described(file);
  throw new TypeError(
    `serve with keeper takes the file that exports the device, by its path or file: URL, not ${given}: processes of their own load it`,
  );
}

/** The program's own worker, which takes its options as everybody does. */
function commandOf(path: string, options: FileServeOptions): WorkerCommand {
  const { vhostUser, vfioUser, vectors, maxMemory, poll, inband, features, set, print } = options;
  return {
    program: process.execPath,
    args: [
      fileURLToPath(new URL('./cli/main.js', import.meta.url)),
      ...['serve', path, '--no-watch', '--no-type-check', '--log', 'json'],
      ...(vhostUser === undefined
        ? []
        : [typeof vhostUser === 'number' ? '--fd' : '--vhost-user', `${vhostUser}`]),
      ...(vfioUser === undefined ? [] : ['--vfio-user', vfioUser]),
      ...(vectors === undefined ? [] : ['--vectors', `${vectors}`]),
      ...(maxMemory === undefined ? [] : ['--max-memory', `${Math.floor(maxMemory / 1024)}K`]),
      ...(poll === undefined || poll === false
        ? []
        : [poll === true ? '--poll' : `--poll=${Math.ceil(poll)}ns`]),
      ...(inband === true ? ['--inband'] : []),
      ...(features === undefined ? [] : ['--features', written(features)]),
      ...Object.entries(set ?? {}).flatMap(([name, value]) => ['--set', `${name}=${value}`]),
      ...(print === false ? ['--quiet'] : []),
    ],
    variable: KEEPER_VARIABLE,
  };
}

/** As the command line has them. */
function written(features: RingFeatures): string {
  return Object.entries(features)
    .map(([name, on]) => {
      const word = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
      return on ? word : `no-${word}`;
    })
    .join();
}
