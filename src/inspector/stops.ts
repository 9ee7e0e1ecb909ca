import { CommandError } from './command-error.js';
import { Stop } from './lookout/breakpoint.js';
import type { Hits } from './lookout/ear.js';
import type { StopSpec } from './lookout/eyes.js';
import type { Breakpoint, BreakpointOn } from './protocol.js';

/** Breakpoints at a time. */
const MOST = 64;

/** The breakpoints that are set, wherever they are asked. */
export class Stops {
  readonly #all = new Map<number, Breakpoint>();
  #ids = 0;

  /** Whether one may hit. */
  get some(): boolean {
    return [...this.#all.values()].some(({ enabled }) => enabled);
  }

  /** @throws CommandError for what can't be meant. @returns its number. */
  add(connection: number | undefined, queue: string | undefined, on: BreakpointOn): number {
    if (this.#all.size >= MOST) throw new CommandError(`there are ${MOST} breakpoints: take one away first`);
    const id = this.#ids + 1;
    // Says what can't be read in it.
    new Stop({ id, connection, queue, on, enabled: true });
    this.#ids = id;
    const of = { ...(connection !== undefined && { connection }), ...(queue !== undefined && { queue }) };
    this.#all.set(id, { id, ...of, on, enabled: true, hits: 0, misfits: 0 });
    return id;
  }

  /** @throws CommandError when there is none of that number. */
  enable(id: number, enabled: boolean): void {
    const stop = this.#all.get(id);
    if (stop === undefined) throw new CommandError(`there is no breakpoint ${id}`);
    this.#all.set(id, { ...stop, enabled });
  }

  remove(id: number): void {
    if (!this.#all.delete(id)) throw new CommandError(`there is no breakpoint ${id}`);
  }

  hit({ id, hits, misfits }: Hits): void {
    const stop = this.#all.get(id);
    if (stop !== undefined)
      this.#all.set(id, { ...stop, hits: stop.hits + hits, misfits: stop.misfits + misfits });
  }

  specs(): StopSpec[] {
    return this.views().map(({ id, connection, queue, on, enabled }) => ({
      id,
      connection,
      queue,
      on,
      enabled,
    }));
  }

  views(): Breakpoint[] {
    return [...this.#all.values()];
  }
}
