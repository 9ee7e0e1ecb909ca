import type { LinuxOs } from '../../linux/linux-os.js';
import type { UnixChannel } from '../../linux/unix-channel.js';
import type { UnixListener } from '../../linux/unix-listener.js';
import { encodeFrame, type Frame, type FromWorker, type Ready } from '../frames.js';
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

/** Where front-ends come: a path to listen at, or a descriptor that listens or is connected. */
export interface KeeperPlace {
  readonly place: string | number;
  readonly transport: KeptConnection['transport'];
}

export interface KeeperOptions {
  readonly os: LinuxOs;
  /** One that depends on what the device is may be said when that is known. */
  readonly places: readonly KeeperPlace[] | ((ready: Ready) => readonly KeeperPlace[]);
  readonly worker: WorkerCommand;
  /** Whether a worker is kept ready. */
  readonly spare: boolean;
  /** ms after which a worker is killed that does not come back to its loop; not unless told. */
  readonly stuckAfter?: number | undefined;
  info(line: string, about: KeeperContext): void;
  warn(line: string, about: KeeperContext): void;
  /** A worker has taken a front-end up. */
  serves?(pid: number, about: Required<KeeperContext>): void;
  /** A front-end came. */
  came?(about: Required<KeeperContext>): void;
  /** It left, or was let go for that reason. */
  left?(about: Required<KeeperContext>, reason: string | undefined): void;
}

/** A worker that lived so long is not one that dies again and again, ms. */
const LONG = 300;

/** Why a front-end has to go: `undefined` for one that went by itself; or how its worker ended. */
type Outcome =
  | { readonly over: string | undefined }
  | { readonly died: WorkerEnd }
  /** It has yielded to another. */
  | { readonly next: WorkerProcess };

/**
 * Owns what must not die with a device's code: sockets, connections, and what front-ends handed over; workers do all the rest, each for one
 * front-end.
 */
export class Keeper {
  readonly #options: KeeperOptions;
  readonly #pool: WorkerPool;
  readonly #places: Place[] = [];
  #connections = 0;
  #upgrading = false;
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
   * @returns what it said of its device; or how it ended, having said why.
   * @throws OsError when a socket is in use, or can't be made.
   */
  async start(): Promise<Ready | WorkerEnd> {
    const first = await this.#pool.begin();
    if ('words' in first || this.#closed) return first;
    const { os, places } = this.#options;
    for (const { place, transport } of typeof places === 'function' ? places(first) : places) {
      const socket = typeof place === 'string' ? os.listen(place) : os.adoptSocket(place);
      this.#places.push(
        new Place(socket, typeof place === 'string' ? place : `descriptor ${place}`, transport, {
          options: this.#options,
          pool: this.#pool,
          number: () => ++this.#connections,
        }),
      );
    }
    return first;
  }

  /** Resolves when all its front-ends left and no other can come. */
  get finished(): Promise<void> {
    return Promise.all(this.#places.map(({ finished }) => finished)).then(() => {});
  }

  /**
   * Has workers of the program as it is now on disk go on with all front-ends.
   *
   * @returns for each front-end, how long nobody served it, in ms.
   * @throws Error with why that can't be: the old ones go on, but for front-ends that were handed over before.
   */
  async upgrade(command: WorkerCommand): Promise<{ readonly socket: string; readonly gap: number }[]> {
    if (this.#upgrading) throw new Error('an upgrade is under way');
    this.#upgrading = true;
    const done: { socket: string; gap: number }[] = [];
    let next: WorkerProcess | undefined;
    try {
      // Also where no front-end is, so that a program that can't be had is never taken.
      next = await this.#pool.tryOut(command);
      for (const place of this.#places) {
        if (!place.busy) continue;
        next ??= await this.#pool.tryOut(command);
        const taken = place.upgrade(next);
        done.push({ socket: place.name, gap: await taken });
        next = undefined;
      }
      this.#pool.change(command, next);
    } catch (error) {
      next?.dismiss();
      if (done.length === 0) throw error;
      const text = done.map(({ socket }) => socket).join(', ');
      throw new Error(`${(error as Error).message}; that at ${text} was upgraded`);
    } finally {
      this.#upgrading = false;
    }
    return done;
  }

  /**
   * The state of a device whose guest stands still, in memory.
   *
   * @param socket - at which it is; needless where there is one.
   * @returns a descriptor, the caller's, and how many bytes there are.
   * @throws Error that says what to do.
   */
  async save(socket: string | undefined, standing: boolean): Promise<{ fd: number; size: number }> {
    const busy = this.#places.filter(
      (place) => place.busy && (socket === undefined || place.name === socket),
    );
    const [place] = busy;
    if (place === undefined) throw new Error('no front-end is there');
    if (busy.length > 1)
      throw new Error(`say which device: one is at ${busy.map(({ name }) => name).join(', another at ')}`);
    return place.save(standing);
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
  readonly name: string;
  readonly #transport: KeptConnection['transport'];
  readonly #listener: UnixListener | undefined;
  #connection: KeptConnection | undefined;
  #worker: WorkerProcess | undefined;
  /** Has another one go on, while one is there. */
  #hand: ((next: WorkerProcess) => void) | undefined;
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
    this.name = name;
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

  /** Whether a front-end is there, with its worker. */
  get busy(): boolean {
    return this.#worker !== undefined;
  }

  /**
   * Has another worker go on, if it can.
   *
   * @returns how long nobody served the front-end, in ms.
   * @throws Error with why not.
   */
  async upgrade(next: WorkerProcess): Promise<number> {
    const worker = this.#worker!;
    const { bytes } = await worker.ask({ what: 'portray' });
    await next.ask({ what: 'try', transport: this.#transport }, bytes);
    const { body } = await worker.ask({ what: 'yield' });
    if (this.#worker !== worker) throw new Error('its front-end left meanwhile');
    this.#hand!(next);
    const at = await Promise.race([next.serving, next.ended]);
    if (typeof at !== 'number')
      throw new Error(`worker ${next.pid} ${at.words} at once: another one goes on`);
    return (at - body.at!) / 1e6;
  }

  /** @see Keeper.save */
  async save(standing: boolean): Promise<{ fd: number; size: number }> {
    const { body, fds } = await this.#worker!.ask({ what: 'save', standing });
    return { fd: fds[0]!, size: body.size! };
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
    const connection = new KeptConnection(channel, number(), this.#transport, this.name);
    this.#connection = connection;
    const about = { connection: connection.number, socket: this.name, transport: this.#transport };
    options.info('front-end connected', about);
    options.came?.(about);
    this.#backoff = new Backoff();
    let error: string | undefined;
    let next: WorkerProcess | undefined;
    for (;;) {
      const worker: WorkerProcess | undefined = next ?? (await pool.take());
      next = undefined;
      if (worker === undefined || this.#closed) return;
      const outcome = await this.#attend(worker, connection, about);
      if (this.#closed) return;
      if ('over' in outcome) {
        error = outcome.over;
        break;
      }
      if ('next' in outcome) {
        next = outcome.next;
        continue;
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
    options.left?.(about, error);
    this.#connection = undefined;
    if (error === undefined) options.info('front-end left', about);
    else options.warn(`front-end dropped: ${error}`, about);
    this.#listener?.resume();
    if (this.#listener === undefined) this.#finish();
  }

  /** One front-end and one of its workers. */
  async #attend(
    worker: WorkerProcess,
    connection: KeptConnection,
    about: Required<KeeperContext>,
  ): Promise<Outcome> {
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
    void worker.serving.then(() => options.serves?.(worker.pid!, about));
    if (stuckAfter !== undefined)
      worker.watch(stuckAfter, () =>
        options.warn(`worker ${worker.pid} is stuck for ${stuckAfter} ms: it is killed`, about),
      );
    pool.prepare();
    let next: WorkerProcess | undefined;
    const yielded = new Promise<Outcome>((resolve) => {
      this.#hand = (to) => {
        next = to;
        resolve({ next: to });
      };
    });
    const first = await Promise.race([yielded, over, worker.ended.then((died): Outcome => ({ died }))]);
    // Whatever came of this one in the same moment.
    const outcome = next === undefined ? first : { next };
    this.#hand = undefined;
    this.#worker = undefined;
    if (performance.now() - began >= LONG) this.#backoff!.well();
    worker.dismiss();
    return outcome;
  }
}

const SETTLED = encodeFrame({ say: 'settled' });
