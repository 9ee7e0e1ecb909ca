import type { RingWatch } from '../../observe/ring-watch.js';
import { VirtqueueError } from '../../virtqueue/virtqueue-error.js';
import { BYTES } from '../chain-entry.js';
import { CommandError } from '../command-error.js';
import { type Condition, parseCondition } from '../condition.js';
import type { BreakpointOn } from '../protocol.js';
import { readFields } from '../read-fields.js';
import type { StopSpec } from './eyes.js';
import type { WatchedQueue } from './watched-queue.js';

/** One breakpoint, and how often it hit. */
export class Stop {
  readonly id: number;
  readonly on: BreakpointOn;
  readonly #spec: StopSpec;
  readonly #condition: Condition | undefined;
  /** By ring: the chain that is the n-th from when it was set. */
  readonly #from = new WeakMap<RingWatch, number>();
  enabled: boolean;
  /** Since they were told last. */
  hits = 0;
  misfits = 0;

  /** @throws CommandError for what can't be meant. */
  constructor(spec: StopSpec) {
    const { id, on } = spec;
    this.id = id;
    this.on = on;
    this.#spec = spec;
    this.enabled = spec.enabled;
    if (on.kind === 'when') this.#condition = parsed(on.when);
  }

  get connection(): number | undefined {
    return this.#spec.connection;
  }

  /** What it waits for, in words. */
  get reason(): string {
    const { on } = this;
    if (on.kind === 'when') return on.when;
    if (on.kind === 'broken') return 'a broken rule';
    if (on.kind === 'any') return 'any chain';
    return on.from === 'now' ? `chain ${on.n} from then on` : `chain ${on.n}`;
  }

  isOf({ connection, name }: WatchedQueue): boolean {
    const { connection: its, queue } = this.#spec;
    return (
      this.enabled && (its === undefined || its === connection) && (queue === undefined || queue === name)
    );
  }

  /** This ring is looked at from now on. */
  arm(watch: RingWatch): void {
    if (!this.#from.has(watch)) this.#from.set(watch, watch.counts.taken);
  }

  /** Whether the next chain is one. */
  hit(watch: RingWatch, queue: WatchedQueue): boolean {
    const { on } = this;
    const chain = watch.counts.taken + 1;
    switch (on.kind) {
      case 'any':
        return true;
      case 'chain':
        return chain === on.n + (on.from === 'now' ? (this.#from.get(watch) ?? 0) : 0);
      case 'broken':
        return false;
      case 'when':
        return this.#asked(watch, queue, chain);
    }
  }

  #asked(watch: RingWatch, queue: WatchedQueue, chain: number): boolean {
    const next = nextOf(watch);
    if (next === undefined) {
      this.misfits += 1;
      return false;
    }
    // Taking it breaks the queue.
    if (next instanceof Error) return false;
    const { request } = queue.shape;
    const fields = request === undefined ? [] : readFields(request, next.bytes, next.readable);
    const verdict = this.#condition!({ ...next, fields, chain });
    if (verdict === 'misfit') this.misfits += 1;
    return verdict === true;
  }
}

/** The next chain of a ring, or why it can't be taken. */
export function nextOf(watch: RingWatch): ReturnType<RingWatch['next']> | Error {
  try {
    return watch.next(BYTES);
  } catch (error) {
    if (error instanceof VirtqueueError || (error as Error).name === 'MemoryError') return error as Error;
    throw error;
  }
}

function parsed(when: string): Condition {
  try {
    return parseCondition(when);
  } catch (error) {
    if (error instanceof SyntaxError) throw new CommandError(error.message);
    throw error;
  }
}
