import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { toStderr } from './bounded-stream.js';
import type { Connection } from './connections.js';
import type { FileServeOptions, FileServer } from './file-server.js';
import { placesOf } from './keeper/keeper/keeper.js';
import { SPARES_MOST } from './keeper/keeper/spares.js';
import type { WorkerCommand } from './keeper/keeper/worker-process.js';
import { processLimiter } from './lines/process-limiter.js';
import { serveByWorkers } from './serve-by-workers.js';
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
import { ringArgs, workerCommand } from './worker-command.js';
import { WorkerError } from './worker-error.js';

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
  spares: (value) =>
    Number.isInteger(value) && (value as number) >= 0 && (value as number) <= SPARES_MOST
      ? undefined
      : `a whole number from 0 to ${SPARES_MOST}`,
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
  const { vhostUser, vfioUser, signal, stuckAfter, spares, warn = toStderr } = options;
  signal?.throwIfAborted();
  if (vhostUser === undefined && vfioUser === undefined)
    throw new TypeError('say where to serve: vhostUser or vfioUser');
  const limiter = processLimiter<LogContext & Partial<Connection>>((line, about) => warn(line, about));
  const { server } = await serveByWorkers({
    command: commandOf(path, options),
    places: placesOf(options),
    stuckAfter,
    spares,
    signal,
    warn: (line, about) => limiter.say(line, about),
    came: (connection) => options.connected?.(connection.socket, connection),
    left: (connection, error) => options.gone?.(connection.socket, error, connection),
    closed: () => limiter.flush(),
  }).catch((error: unknown) => {
    if (!(error instanceof WorkerError)) throw error;
    throw new Error(`${path} can't be served: its process ${error.message}`);
  });
  return server;
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
  const { vhostUser, vfioUser, maxMemory, inband, set, print } = options;
  return workerCommand(path, [
    ...(vhostUser === undefined
      ? []
      : [typeof vhostUser === 'number' ? '--fd' : '--vhost-user', `${vhostUser}`]),
    ...(vfioUser === undefined ? [] : ['--vfio-user', vfioUser]),
    ...(maxMemory === undefined ? [] : ['--max-memory', `${Math.floor(maxMemory / 1024)}K`]),
    ...(inband === true ? ['--inband'] : []),
    ...Object.entries(set ?? {}).flatMap(([name, value]) => ['--set', `${name}=${value}`]),
    ...(print === false ? ['--quiet'] : []),
    ...ringArgs(options),
    ...['--no-watch'],
  ]);
}
