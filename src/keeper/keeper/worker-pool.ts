import type { LinuxOs } from '../../linux/linux-os.js';
import type { Ready } from '../frames.js';
import { Backoff } from './backoff.js';
import { type WorkerCommand, type WorkerEnd, WorkerProcess } from './worker-process.js';

/** Where workers come from: one is kept ready, if that is wished, so that it need not be started when it is needed. */
export class WorkerPool {
  readonly #os: LinuxOs;
  #command: WorkerCommand;
  readonly #spares: boolean;
  readonly #failed: (end: WorkerEnd) => void;
  readonly #backoff = new Backoff();
  #spare: WorkerProcess | undefined;
  #closed = false;

  /** @param failed - a worker ended before it could serve anybody. */
  constructor(os: LinuxOs, command: WorkerCommand, spares: boolean, failed: (end: WorkerEnd) => void) {
    this.#os = os;
    this.#command = command;
    this.#spares = spares;
    this.#failed = failed;
  }

  /** Starts the first. @returns what it said of itself, or how it ended before it could serve anybody. */
  async begin(): Promise<Ready | WorkerEnd> {
    const first = new WorkerProcess(this.#os, this.#command);
    const ready = await first.ready;
    if (ready === undefined) return first.ended;
    if (this.#closed) first.dismiss();
    else this.#spare = first;
    return ready;
  }

  /** One that is ready; `undefined` after `close`. */
  async take(): Promise<WorkerProcess | undefined> {
    while (!this.#closed) {
      const worker = this.#spare ?? new WorkerProcess(this.#os, this.#command);
      this.#spare = undefined;
      const ready = (await worker.ready) !== undefined;
      if (this.#closed) worker.dismiss();
      else if (ready) {
        this.#backoff.well();
        return worker;
      } else {
        this.#failed(await worker.ended);
        await this.#backoff.wait();
      }
    }
    return undefined;
  }

  /** Gets the next one ready, if that is wished. */
  prepare(): void {
    if (this.#spares && !this.#closed) this.#spare ??= new WorkerProcess(this.#os, this.#command);
  }

  /** Starts one of another program. @throws Error with why that can't be had. */
  async tryOut(command: WorkerCommand): Promise<WorkerProcess> {
    const worker = new WorkerProcess(this.#os, command);
    if ((await worker.ready) !== undefined) return worker;
    throw new Error(`a worker of the program as it is now ${(await worker.ended).words}`);
  }

  /** From now on they are of that program. @param spare - one of it, which is ready. */
  change(command: WorkerCommand, spare?: WorkerProcess): void {
    this.#command = command;
    this.#spare?.dismiss();
    this.#spare = spare;
    if (this.#closed) spare?.dismiss();
    else if (!this.#spares && spare !== undefined) {
      spare.dismiss();
      this.#spare = undefined;
    } else this.prepare();
  }

  close(): void {
    this.#closed = true;
    this.#backoff.close();
    this.#spare?.dismiss();
  }
}
