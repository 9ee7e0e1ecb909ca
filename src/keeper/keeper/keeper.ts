import type { LinuxOs } from '../../linux/linux-os.js';
import type { LookedAt, Ready } from '../frames.js';
import type { KeptConnection } from './kept-connection.js';
import { type Hearing, Place } from './place.js';
import { SPARES } from './spares.js';
import { WorkerPool } from './worker-pool.js';
import type { Reloaded, WorkerCommand, WorkerEnd, WorkerProcess } from './worker-process.js';

/** Where front-ends come: a path to listen at, or a descriptor that listens or is connected. */
export interface KeeperPlace {
  readonly place: string | number;
  readonly transport: KeptConnection['transport'];
}

/** The places of a server's options. */
export function placesOf({
  vhostUser,
  vfioUser,
}: {
  readonly vhostUser?: string | number | undefined;
  readonly vfioUser?: string | undefined;
}): KeeperPlace[] {
  const places: KeeperPlace[] = [];
  if (vhostUser !== undefined) places.push({ place: vhostUser, transport: 'vhost-user' });
  if (vfioUser !== undefined) places.push({ place: vfioUser, transport: 'vfio-user' });
  return places;
}

export interface KeeperOptions extends Hearing {
  readonly os: LinuxOs;
  /** One that depends on what the device is may be said when that is known. */
  readonly places: readonly KeeperPlace[] | ((ready: Ready) => readonly KeeperPlace[]);
  readonly worker: WorkerCommand;
  /** How many workers are kept ready, once a front-end came; 1 unless told. */
  readonly spares?: number | undefined;
  /** What the first device goes on from that a driver starts. */
  readonly state?: Uint8Array | undefined;
}

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
  /** What is being done with all workers, one after the other. */
  #turn: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(options: KeeperOptions) {
    this.#options = options;
    const { os, worker, spares = SPARES, state } = options;
    this.#pool = new WorkerPool(os, worker, spares, state, ({ words }) =>
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
    if ('words' in first) return first;
    const { ready, worker } = first;
    this.#files = worker.files;
    if (this.#closed) return ready;
    const { os, places } = this.#options;
    for (const { place, transport } of typeof places === 'function' ? places(ready) : places) {
      const socket = typeof place === 'string' ? os.listen(place) : os.adoptSocket(place);
      this.#places.push(
        new Place(socket, typeof place === 'string' ? place : `descriptor ${place}`, transport, {
          options: this.#options,
          pool: this.#pool,
          number: () => ++this.#connections,
          changed: () => this.#prepare(),
        }),
      );
    }
    return ready;
  }

  #files: LookedAt = [];

  /** The files that the first worker looked at to load the device, where that is a file. */
  get files(): LookedAt {
    return this.#files;
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
    return this.#inTurn(() => this.#upgrade(command)).finally(() => {
      this.#upgrading = false;
    });
  }

  /**
   * Has all workers load the device's file as it is now. A front-end goes on with the old device where that one can't take its place; the next one
   * gets the new one all the same, unless it failed.
   */
  async reload(): Promise<Reloaded> {
    return this.#inTurn(() => this.#reload());
  }

  async #upgrade(command: WorkerCommand): Promise<{ readonly socket: string; readonly gap: number }[]> {
    const done: { socket: string; gap: number }[] = [];
    let next: WorkerProcess | undefined;
    let code: Uint8Array | undefined;
    try {
      // Also where no front-end is, so that a program that can't be had is never taken.
      next = await this.#pool.tryOut(command);
      for (const place of this.#places) {
        if (!place.busy) continue;
        next ??= await this.#pool.tryOut(command);
        const taken = place.upgrade(next);
        code = next.code;
        done.push({ socket: place.name, gap: await taken });
        next = undefined;
      }
      this.#pool.change(command, next === undefined ? code : next.code, next);
      this.#prepare();
    } catch (error) {
      next?.dismiss();
      if (done.length === 0) throw error;
      const text = done.map(({ socket }) => socket).join(', ');
      throw new Error(`${(error as Error).message}; that at ${text} was upgraded`);
    }
    return done;
  }

  async #reload(): Promise<Reloaded> {
    let all = await this.#reloadPlaces(undefined);
    if (all.length === 0) {
      const first = await this.#pool.reload();
      // Who came meanwhile has the old one.
      all = [first, ...(first.code === undefined ? [] : await this.#reloadPlaces(first.code))];
    }
    const { code } = all.find((one) => one.code !== undefined) ?? {};
    const results = all.map(({ result }) => result);
    const result = results.includes('failed')
      ? 'failed'
      : results.includes('refused')
        ? 'refused'
        : 'reloaded';
    if (code !== undefined && result !== 'failed') this.#pool.renew(code);
    this.#prepare();
    const why = all.find((one) => one.why !== undefined)?.why;
    return { result, files: all.flatMap(({ files }) => files), ...(why !== undefined && { why }) };
  }

  /** Has all workers that have a front-end take this code, or what is on the disk: the first loads it, and the others take what it has loaded. */
  async #reloadPlaces(given: Uint8Array | undefined): Promise<Reloaded[]> {
    let code = given;
    const done = new Map<KeptConnection, Reloaded>();
    const died = new Map<KeptConnection, WorkerProcess>();
    for (;;) {
      const place = this.#places.find(({ connection }) => connection !== undefined && !done.has(connection));
      if (place === undefined) return [...done.values()];
      const connection = place.connection!;
      const worker = await place.next(died.get(connection));
      if (worker === undefined || place.connection !== connection) continue;
      const now = await worker.reload(code, false);
      if (now.killed === true && !died.has(connection)) {
        // That may be no fault of the code's: whoever goes on is asked.
        died.set(connection, worker);
        continue;
      }
      done.set(connection, now);
      code ??= now.code;
      if (code === undefined) return [...done.values()];
    }
  }

  /**
   * The state of a device whose guest stands still, in memory.
   *
   * @param socket - at which it is; needless where there is one.
   * @returns a descriptor, the caller's, and how many bytes there are.
   * @throws Error that says what to do.
   */
  async save(socket: string | undefined, standing: boolean): Promise<{ fd: number; size: number }> {
    const named = this.#places.filter(({ name }) => socket === undefined || name === socket);
    const busy = named.filter((place) => place.busy);
    const [place] = busy;
    if (place === undefined)
      throw new Error(`no front-end is at ${named.map(({ name }) => name).join(' or ')}`);
    if (busy.length > 1)
      throw new Error(`say which device: one is at ${busy.map(({ name }) => name).join(', another at ')}`);
    return place.save(standing);
  }

  /** Gets workers ready for the front-ends that are there, else for the next one. */
  #prepare(): void {
    const busy = this.#places.find(({ connection }) => connection !== undefined);
    this.#pool.prepare(busy === undefined ? this.#pool.newest : busy.code);
  }

  #inTurn<Result>(act: () => Promise<Result>): Promise<Result> {
    const done = this.#turn.then(act);
    this.#turn = done.catch(() => {});
    return done;
  }

  /** Resolves, after `close`, when all workers have ended. */
  get gone(): Promise<void> {
    return this.#pool.gone;
  }

  /** Ends connections and workers, and removes the sockets. Safe to call twice. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#pool.close();
    for (const place of this.#places) place.close();
  }
}
