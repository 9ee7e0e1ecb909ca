import type { LinuxOs } from '../../linux/linux-os.js';
import type { UnixChannel } from '../../linux/unix-channel.js';
import type { UnixListener } from '../../linux/unix-listener.js';
import { encodeFrame, type Frame, type FromWorker } from '../frames.js';
import { Backoff } from './backoff.js';
import { KeptConnection } from './kept-connection.js';
import { WorkerPool } from './worker-pool.js';
import type { WorkerCommand, WorkerEnd, WorkerProcess } from './worker-process.js';

/** What a line of the keeper's is about. */
export interface KeeperContext {
  readonly socket?: string;
  readonly transport?: KeptConnection['transport'];
  readonly connection?: number;
}

export interface KeeperOptions {
  readonly os: LinuxOs;
  /** Where front-ends come: a path to listen at, or a descriptor that listens or is connected. */
  readonly places: readonly {
    readonly place: string | number;
    readonly transport: KeptConnection['transport'];
  }[];
  readonly worker: WorkerCommand;
  /** Whether a worker is kept ready. */
  readonly spare: boolean;
  /** ms after which a worker is killed that does not come back to its loop; not unless told. */
  readonly stuckAfter?: number | undefined;
  info(line: string, about: KeeperContext): void;
  warn(line: string, about: KeeperContext): void;
}

/** A worker that lived so long is not one that dies again and again, ms. */
const LONG = 300;

/** Why a front-end has to go: `undefined` for one that went by itself; or how its worker ended. */
type Outcome = { readonly over: string | undefined } | { readonly died: WorkerEnd };

/**
 * Owns what must not die with a device's code: sockets, connections, and what front-ends handed over; workers do all the rest, each for one
 * front-end.
 */
export class Keeper {
  readonly #options: KeeperOptions;
  readonly #pool: WorkerPool;
  readonly #places: Place[] = [];
  #connections = 0;
  #closed = false;

  constructor(options: KeeperOptions) {
    this.#options = options;
    this.#pool = new WorkerPool(options.os, options.worker, options.spare, ({ words }) =>
      options.warn(`a worker ${words} before it could serve anybody; the next one is tried`, {}),
    );
  }

  /**
   * Starts the first worker, and listens when that could serve somebody.
   *
   * @returns the device's name; or how the worker ended, which said why.
   * @throws OsError when a socket is in use, or can't be made.
   */
  async start(): Promise<string | WorkerEnd> {
    const name = await this.#pool.begin();
    if (typeof name !== 'string' || this.#closed) return name;
    const { os, places } = this.#options;
    for (const { place, transport } of places) {
      const socket = typeof place === 'string' ? os.listen(place) : os.adoptSocket(place);
      this.#places.push(
        new Place(socket, typeof place === 'string' ? place : `descriptor ${place}`, transport, {
          options: this.#options,
          pool: this.#pool,
          number: () => ++this.#connections,
        }),
      );
    }
    return name;
  }

  /** Resolves when all its front-ends left and no other can come. */
  get finished(): Promise<void> {
    return Promise.all(this.#places.map(({ finished }) => finished)).then(() => {});
  }

  /** Ends connections and workers, and removes the sockets. Safe to call twice. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#pool.close();
    for (const place of this.#places) place.close();
  }
}

interface PlacePorts {
  readonly options: KeeperOptions;
  readonly pool: WorkerPool;
  number(): number;
}

/** A socket, and its front-end. */
class Place {
  readonly #ports: PlacePorts;
  readonly #name: string;
  readonly #transport: KeptConnection['transport'];
  readonly #listener: UnixListener | undefined;
  #connection: KeptConnection | undefined;
  #worker: WorkerProcess | undefined;
  #backoff: Backoff | undefined;
  #closed = false;
  #finish: () => void = () => {};
  readonly finished: Promise<void> = new Promise((resolve) => {
    this.#finish = resolve;
  });

  constructor(
    socket: UnixListener | UnixChannel,
    name: string,
    transport: KeptConnection['transport'],
    ports: PlacePorts,
  ) {
    this.#name = name;
    this.#transport = transport;
    this.#ports = ports;
    if ('send' in socket) {
      void this.#serve(socket);
      return;
    }
    this.#listener = socket;
    socket.accept({
      accepted: (channel) => void this.#serve(channel),
      failed: (error) => ports.options.warn(error.message, { socket: name, transport }),
    });
  }

  close(): void {
    this.#closed = true;
    this.#listener?.close();
    this.#backoff?.close();
    this.#worker?.dismiss();
    this.#connection?.close();
    this.#finish();
  }

  /** One front-end, from the first to the last of its workers. */
  async #serve(channel: UnixChannel): Promise<void> {
    const { options, pool, number } = this.#ports;
    this.#listener?.pause();
    const connection = new KeptConnection(channel, number(), this.#transport, this.#name);
    this.#connection = connection;
    const about = { connection: connection.number, socket: this.#name, transport: this.#transport };
    options.info('front-end connected', about);
    this.#backoff = new Backoff();
    let error: string | undefined;
    for (;;) {
      const worker = await pool.take();
      if (worker === undefined || this.#closed) return;
      const outcome = await this.#attend(worker, connection, about);
      if (this.#closed) return;
      if ('over' in outcome) {
        error = outcome.over;
        break;
      }
      const { words, signal } = outcome.died;
      if (signal === 'SIGBUS') {
        error = `its worker ${words}: memory that it shared is gone`;
        break;
      }
      options.warn(`worker ${worker.pid} ${words}: another one goes on`, about);
      await this.#backoff.wait();
    }
    connection.close();
    this.#connection = undefined;
    if (error === undefined) options.info('front-end left', about);
    else options.warn(`front-end dropped: ${error}`, about);
    this.#listener?.resume();
    if (this.#listener === undefined) this.#finish();
  }

  /** One front-end and one of its workers. */
  async #attend(worker: WorkerProcess, connection: KeptConnection, about: KeeperContext): Promise<Outcome> {
    const { options, pool } = this.#ports;
    const { stuckAfter } = options;
    this.#worker = worker;
    const began = performance.now();
    const over = new Promise<Outcome>((resolve) => {
      worker.listen((frame) => {
        const { body } = frame;
        if (body.say === 'over') resolve({ over: body.error });
        if (body.say !== 'settle') return;
        this.#backoff!.well();
        try {
          connection.settle(frame as Frame<Extract<FromWorker, { say: 'settle' }>>);
        } catch (error) {
          resolve({ over: (error as Error).message });
        }
        worker.channel.send(SETTLED);
      });
    });
    connection.hand(worker.channel);
    if (stuckAfter !== undefined)
      worker.watch(stuckAfter, () =>
        options.warn(`worker ${worker.pid} is stuck for ${stuckAfter} ms: it is killed`, about),
      );
    pool.prepare();
    const outcome = await Promise.race([over, worker.ended.then((died): Outcome => ({ died }))]);
    this.#worker = undefined;
    if (performance.now() - began >= LONG) this.#backoff!.well();
    worker.dismiss();
    return outcome;
  }
}

const SETTLED = encodeFrame({ say: 'settled' });
