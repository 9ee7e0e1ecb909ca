import { type Connection, Connections } from './connections.js';
import type { FileServer } from './file-server.js';
import type { DeviceOutline, Ready } from './keeper/frames.js';
import { Keeper, type KeeperOptions } from './keeper/keeper/keeper.js';
import type { KeeperContext } from './keeper/keeper/place.js';
import type { WorkerCommand, WorkerEnd } from './keeper/keeper/worker-process.js';
import { linuxOs } from './linux-only.js';
import { WorkerError } from './worker-error.js';

/** A device that other processes have, and who hears of them. */
export interface WorkersOptions {
  readonly command: WorkerCommand;
  readonly places: KeeperOptions['places'];
  /** ms. */
  readonly stuckAfter?: number | undefined;
  /** How many are kept ready. */
  readonly spares?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  warn(line: string, about: KeeperContext): void;
  /** A worker has taken a front-end up. */
  serves?(pid: number, about: Connection): void;
  came?(connection: Connection): void;
  left?(connection: Connection, error: Error | undefined): void;
  closed?(): void;
}

/**
 * Has workers serve a device; this process is their keeper.
 *
 * @throws WorkerError when the first could not serve anybody, which it said why of; OsError when a socket can't be had; what `places` throws.
 */
export async function serveByWorkers(options: WorkersOptions): Promise<{
  readonly server: FileServer;
  readonly device: DeviceOutline;
  /** The first one's. */
  readonly pid: number;
  readonly keeper: Keeper;
}> {
  const { command, places, stuckAfter, spares, signal } = options;
  const os = await linuxOs();
  const connections = new Connections();
  const keeper = new Keeper({
    os,
    places,
    worker: command,
    stuckAfter,
    spares,
    info: () => {},
    warn: (line, about) => options.warn(line, about),
    serves: (pid, about) => options.serves?.(pid, about),
    came: (connection) => {
      options.came?.(connection);
      connections.came(connection);
    },
    left: (connection, reason) => {
      const error = reason === undefined ? undefined : new Error(reason);
      options.left?.(connection, error);
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
    os.close();
    options.closed?.();
    end();
  };
  process.once('exit', close);
  signal?.addEventListener('abort', close, { once: true });
  let first: Ready | WorkerEnd;
  try {
    first = await keeper.start();
  } catch (error) {
    close();
    throw error;
  }
  if ('words' in first) {
    close();
    signal?.throwIfAborted();
    throw new WorkerError(first);
  }
  const server: FileServer = {
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
      await keeper.gone;
    },
  };
  // A worker of this version says which process it is, and what its device is.
  return { server, device: first.device!, pid: first.pid!, keeper };
}
