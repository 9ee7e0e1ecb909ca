import type { LinuxOs } from '../../linux/linux-os.js';
import type { Ready } from '../frames.js';
import { Backoff } from './backoff.js';
import { type Reloaded, type WorkerCommand, type WorkerEnd, WorkerProcess } from './worker-process.js';

/** A device's code, as a worker has read it; `undefined` for a device that is none of a file's. */
type Code = Uint8Array | undefined;

/** Where workers come from: some are kept ready, if that is wished, so that they need not be started when they are needed. */
export class WorkerPool {
  readonly #os: LinuxOs;
  #command: WorkerCommand;
  readonly #wanted: number;
  readonly #failed: (end: Pick<WorkerEnd, 'words'>) => void;
  readonly #backoff = new Backoff();
  #state: Uint8Array | undefined;
  #spares: WorkerProcess[] = [];
  /** What the next front-end gets. */
  #newest: Code;
  /** Resolves when nothing is being done with those that are ready. */
  #turn: Promise<void> = Promise.resolve();
  /** Those that have not ended. */
  readonly #alive = new Set<WorkerProcess>();
  #closed = false;

  /**
   * @param spares - how many are kept ready.
   * @param state - what the first device goes on from that a driver starts.
   * @param failed - a worker ended before it could serve anybody.
   */
  constructor(
    os: LinuxOs,
    command: WorkerCommand,
    spares: number,
    state: Uint8Array | undefined,
    failed: (end: Pick<WorkerEnd, 'words'>) => void,
  ) {
    this.#os = os;
    this.#command = command;
    this.#wanted = spares;
    this.#state = state;
    this.#failed = failed;
  }

  /** The code that the next front-end gets. */
  get newest(): Code {
    return this.#newest;
  }

  /** A driver has started a device: the next ones have nothing to go on from. */
  started(): void {
    this.#state = undefined;
  }

  /** Whether none has. */
  get first(): boolean {
    return this.#state !== undefined;
  }

  /** Starts the first. @returns it, or how it ended before it could serve anybody. */
  async begin(): Promise<{ readonly ready: Ready; readonly worker: WorkerProcess } | WorkerEnd> {
    const worker = this.#start(undefined);
    const ready = await worker.ready;
    if (ready === undefined) return worker.ended;
    if (this.#closed) worker.dismiss();
    this.#newest = worker.code;
    this.#spares.push(worker);
    return { ready, worker };
  }

  /** One that is ready, and has that code; `undefined` after `close`. */
  async take(code: Code = this.#newest): Promise<WorkerProcess | undefined> {
    while (!this.#closed) {
      await this.#turn;
      if (this.#closed) return undefined;
      this.#spares = this.#spares.filter(({ alive }) => alive);
      const found = this.#spares.find((spare) => spare.code === code);
      this.#spares = this.#spares.filter((spare) => spare !== found);
      let end: Pick<WorkerEnd, 'words'>;
      try {
        const worker = found ?? this.#start(code);
        const ready = (await worker.ready) !== undefined;
        if (this.#closed) worker.dismiss();
        else if (ready) {
          this.#backoff.well();
          return worker;
        }
        end = await worker.ended;
      } catch (error) {
        end = { words: `can't be started: ${(error as Error).message}` };
      }
      if (this.#closed) return undefined;
      this.#failed(end);
      await this.#backoff.wait();
    }
    return undefined;
  }

  /** Gets the next ones ready, if that is wished, with that code. */
  prepare(code: Code = this.#newest): void {
    if (this.#closed) return;
    for (const spare of this.#spares.filter((one) => one.code !== code)) this.#change(spare, code);
    try {
      while (this.#spares.length < this.#wanted) this.#spares.push(this.#start(code));
    } catch {
      // There is no room for it. Whoever needs one tries again, and says so.
    }
  }

  /** One whose front-end left, and that could serve another: with those that are ready then, no other is started for it. */
  giveBack(worker: WorkerProcess): void {
    if (this.#closed || !worker.alive) {
      worker.dismiss();
      return;
    }
    worker.release();
    this.#spares.unshift(worker);
    for (const one of this.#spares.splice(1 + this.#wanted)) one.dismiss();
  }

  /** Has one that is ready load the device's file anew, which is then what the next front-end gets, if it can be had. */
  async reload(): Promise<Reloaded> {
    const worker = await this.take();
    const done = (await worker?.reload(undefined, false)) ?? { result: 'failed' as const, files: [] };
    if (worker === undefined) return done;
    if (done.result === 'failed' && done.why !== undefined) worker.dismiss();
    else this.#spares.unshift(worker);
    return done;
  }

  /** From now on that is what the next front-end gets. */
  renew(code: Code): void {
    this.#newest = code;
  }

  /** Starts one of another program. @throws Error with why that can't be had. */
  async tryOut(command: WorkerCommand): Promise<WorkerProcess> {
    const worker = this.#watched(new WorkerProcess(this.#os, command, { state: this.#state }));
    if ((await worker.ready) !== undefined) return worker;
    throw new Error(`a worker of the program as it is now ${(await worker.ended).words}`);
  }

  /** From now on they are of that program, and have that code. @param spare - one of it, which is ready. */
  change(command: WorkerCommand, code: Code, spare?: WorkerProcess): void {
    this.#command = command;
    this.#newest = code;
    for (const old of this.#spares.splice(0)) old.dismiss();
    if (spare === undefined) return;
    if (this.#closed || this.#wanted === 0) spare.dismiss();
    else this.#spares.push(spare);
  }

  /** Resolves when all of them have ended. */
  get gone(): Promise<void> {
    return Promise.all([...this.#alive].map(({ ended }) => ended)).then(() => {});
  }

  close(): void {
    this.#closed = true;
    this.#backoff.close();
    for (const spare of this.#spares.splice(0)) spare.dismiss();
  }

  #start(code: Code): WorkerProcess {
    return this.#watched(new WorkerProcess(this.#os, this.#command, { code, state: this.#state }));
  }

  #watched(worker: WorkerProcess): WorkerProcess {
    this.#alive.add(worker);
    void worker.ended.then(() => this.#alive.delete(worker));
    return worker;
  }

  /** Has one that is ready take that code, or another one take its place. */
  #change(spare: WorkerProcess, code: Code): void {
    this.#turn = this.#turn.then(async () => {
      if (spare.code === code || !this.#spares.includes(spare)) return;
      if (code !== undefined && (await spare.ready) !== undefined) {
        const { result } = await spare.reload(code, true);
        if (result === 'reloaded') return;
      }
      this.#spares = this.#spares.filter((one) => one !== spare);
      spare.dismiss();
      this.prepare(code);
    });
  }
}
