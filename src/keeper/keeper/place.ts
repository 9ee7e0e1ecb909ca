import type { UnixChannel } from '../../linux/unix-channel.js';
import type { UnixListener } from '../../linux/unix-listener.js';
import { encodeFrame, type Frame, type FromWorker } from '../frames.js';
import { Backoff } from './backoff.js';
import { KeptConnection } from './kept-connection.js';
import type { WorkerPool } from './worker-pool.js';
import type { WorkerEnd, WorkerProcess } from './worker-process.js';

/** What a line of the keeper's is about. */
export interface KeeperContext {
  readonly socket?: string;
  readonly transport?: KeptConnection['transport'];
  readonly connection?: number;
}

/** A worker that lived so long is not one that dies again and again, ms. */
const LONG = 300;
/** Who dies of SIGBUS again so soon touches memory that is gone, ms. */
const AGAIN = 1000;
/** A front-end that is there for so long needs others ready, ms. */
const STAYS = 50;

/** Why a front-end has to go: `undefined` for one that went by itself; or how its worker ended. */
type Outcome =
  | { readonly over: string | undefined /** As it said itself. */; readonly own: boolean }
  | { readonly died: WorkerEnd }
  /** It has yielded to another. */
  | { readonly next: WorkerProcess };

/** Who hears of front-ends and workers. */
export interface Hearing {
  /** ms after which a worker is killed that does not come back to its loop; not unless told. */
  readonly stuckAfter?: number | undefined;
  /** Whether a worker may serve one front-end after the other. */
  readonly reuse?: boolean | undefined;
  info(line: string, about: KeeperContext): void;
  warn(line: string, about: KeeperContext): void;
  /** A worker has taken a front-end up. */
  serves?(pid: number, about: Required<KeeperContext>): void;
  /** A front-end came. */
  came?(about: Required<KeeperContext>): void;
  /** It left, or was let go for that reason. */
  left?(about: Required<KeeperContext>, reason: string | undefined): void;
}

/** What a place needs of its keeper. */
export interface PlacePorts {
  readonly options: Hearing;
  readonly pool: WorkerPool;
  number(): number;
  /** It has another worker now, or none. */
  changed(): void;
}

/** A socket, and its front-end. */
export class Place {
  readonly #ports: PlacePorts;
  readonly name: string;
  readonly #transport: KeptConnection['transport'];
  readonly #listener: UnixListener | undefined;
  #connection: KeptConnection | undefined;
  #worker: WorkerProcess | undefined;
  /** Of its front-end, the one that has died or is there. */
  #last: WorkerProcess | undefined;
  /** Has another one go on, while one is there. */
  #hand: ((next: WorkerProcess) => void) | undefined;
  /** Hear when it has a worker, or no front-end any more. */
  #waiting: (() => void)[] = [];
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

  /** That of its front-end, if one is there. */
  get connection(): KeptConnection | undefined {
    return this.#connection;
  }

  /** The code that its front-end is served with. */
  get code(): Uint8Array | undefined {
    return this.#last?.code;
  }

  /** The worker of its front-end, which is waited for while one dies and another takes its place; `undefined` where no front-end is there any more. @param after - one that is dead. */
  async next(after?: WorkerProcess): Promise<WorkerProcess | undefined> {
    const none = (): boolean => this.#worker === undefined || this.#worker === after;
    while (this.#connection !== undefined && !this.#closed && none())
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
      });
    return none() ? undefined : this.#worker;
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
    this.#tell();
  }

  #tell(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
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
    /** The last worker died of SIGBUS. */
    let bus = false;
    for (;;) {
      const worker: WorkerProcess | undefined =
        next ?? (await pool.take(this.#last === undefined ? pool.newest : this.#last.code));
      next = undefined;
      if (worker === undefined || this.#closed) return;
      const began = performance.now();
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
      const again = bus && performance.now() - began < AGAIN;
      bus = signal === 'SIGBUS';
      if (bus && (again || connection.cutShort)) {
        error = `its worker ${words}: memory that it shared is gone`;
        break;
      }
      options.warn(`worker ${worker.pid} ${words}: another one goes on`, about);
      await this.#backoff.wait();
    }
    connection.close();
    options.left?.(about, error);
    this.#connection = undefined;
    this.#last = undefined;
    this.#ports.changed();
    this.#tell();
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
    this.#last = worker;
    this.#tell();
    const began = performance.now();
    const over = new Promise<Outcome>((resolve) => {
      worker.listen((frame) => {
        const { body } = frame;
        if (body.say === 'over') resolve({ over: body.error, own: true });
        if (body.say === 'started') pool.started();
        if (body.say !== 'settle') return;
        this.#backoff!.well();
        try {
          connection.settle(frame as Frame<Extract<FromWorker, { say: 'settle' }>>);
        } catch (error) {
          resolve({ over: (error as Error).message, own: false });
        }
        worker.channel.send(SETTLED);
      });
    });
    // Who only looks in needs no other one.
    const stays = setTimeout(() => this.#ports.changed(), STAYS);
    connection.hand(worker.channel, pool.first);
    void worker.serving.then(() => options.serves?.(worker.pid!, about));
    if (stuckAfter !== undefined)
      worker.watch(stuckAfter, () =>
        options.warn(`worker ${worker.pid} is stuck for ${stuckAfter} ms: it is killed`, about),
      );
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
    clearTimeout(stays);
    if (options.reuse === true && 'over' in outcome && outcome.own) pool.giveBack(worker);
    else worker.dismiss();
    return outcome;
  }
}

const SETTLED = encodeFrame({ say: 'settled' });
