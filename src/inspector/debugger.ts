import { printable } from '../lines/printable.js';
import type { RingWatch } from '../observe/ring-watch.js';
import { VirtqueueError } from '../virtqueue/virtqueue-error.js';
import { nextOf, Stop } from './breakpoint.js';
import { bytesText, bytesView } from './chain-entry.js';
import { CommandError } from './command-error.js';
import type { Breakpoint, BreakpointOn, HeldNext, Hold } from './protocol.js';
import type { QueueModel } from './queue-model.js';

/** Breakpoints at a time. */
const STOPS = 64;

/** What holds a queue, and since when. */
type Reason = Pick<Hold, 'since' | 'by' | 'reason'> & { readonly breakpoint?: number };

/** A queue with the ring under it. */
interface Held {
  readonly queue: QueueModel;
  readonly watch: RingWatch;
}

/** Holds and breakpoints. They are of queues: the rings under these come and go. */
export class Debugger {
  readonly #now: () => number;
  /** Hears of what it did: `hold` or `release`. */
  readonly #tell: (queue: QueueModel, what: 'hold' | 'release', text: string) => void;
  readonly #rings = new Map<QueueModel, RingWatch>();
  readonly #holds = new Map<QueueModel, Reason>();
  readonly #stops = new Map<number, Stop>();
  #ids = 0;
  #asleep = false;

  constructor(now: () => number, tell: (queue: QueueModel, what: 'hold' | 'release', text: string) => void) {
    this.#now = now;
    this.#tell = tell;
  }

  /** A ring is under this queue. */
  started(queue: QueueModel, watch: RingWatch): void {
    this.#rings.set(queue, watch);
    if (this.#holds.has(queue)) watch.hold();
    this.#arm({ queue, watch });
  }

  /** It is not there any more. What holds the queue holds the next one, too. */
  stopped(queue: QueueModel): void {
    this.#rings.delete(queue);
  }

  /** The driver forgot all it said, or went: nobody waits. */
  forget(queue: QueueModel): void {
    this.#rings.delete(queue);
    this.#holds.delete(queue);
  }

  /** It is broken: there is nothing to hold. */
  broke(queue: QueueModel): void {
    if (this.#holds.delete(queue)) this.#rings.get(queue)?.release();
  }

  hold(queue: QueueModel): void {
    if (this.#holds.has(queue)) return;
    this.#rings.get(queue)?.hold();
    this.#held(queue, { since: this.#now(), by: 'person', reason: 'held' });
  }

  /** @throws CommandError when it is not held. */
  step(queue: QueueModel, chains: number): void {
    if (!this.#holds.has(queue)) throw new CommandError(`${queue.name} is not held: hold it first`);
    this.#rings.get(queue)?.step(chains);
  }

  release(queue: QueueModel): void {
    if (!this.#holds.delete(queue)) return;
    this.#rings.get(queue)?.release();
    this.#tell(queue, 'release', 'goes on');
  }

  releaseAll(): void {
    for (const queue of [...this.#holds.keys()]) this.release(queue);
  }

  /** @throws CommandError for what can't be meant. @returns its number. */
  break(connection: number | undefined, queue: string | undefined, on: BreakpointOn): number {
    if (this.#stops.size >= STOPS)
      throw new CommandError(`there are ${STOPS} breakpoints: take one away first`);
    const stop = new Stop(this.#ids + 1, connection, queue, on);
    this.#ids += 1;
    this.#stops.set(stop.id, stop);
    this.#armAll();
    return stop.id;
  }

  /** @throws CommandError when there is none of that number. */
  enable(id: number, enabled: boolean): void {
    const stop = this.#stops.get(id);
    if (stop === undefined) throw new CommandError(`there is no breakpoint ${id}`);
    stop.enabled = enabled;
    this.#armAll();
  }

  unbreak(id: number): void {
    if (!this.#stops.delete(id)) throw new CommandError(`there is no breakpoint ${id}`);
    this.#armAll();
  }

  /** While nobody looks nothing is held, and no breakpoint hits. */
  set asleep(asleep: boolean) {
    if (asleep === this.#asleep) return;
    this.#asleep = asleep;
    if (asleep) this.releaseAll();
    this.#armAll();
  }

  get holding(): boolean {
    return this.#holds.size > 0;
  }

  holds(): Hold[] {
    return [...this.#holds].map(([queue, reason]) => {
      const watch = this.#rings.get(queue);
      const of = { connection: queue.connection, queue: queue.queue, ...reason };
      if (watch === undefined) return { ...of, waiting: 0, unseen: 'it has no ring' };
      return { ...of, waiting: watch.available, ...nextView({ queue, watch }) };
    });
  }

  breakpoints(): Breakpoint[] {
    return [...this.#stops.values()].map((stop) => stop.view());
  }

  #armAll(): void {
    for (const [queue, watch] of this.#rings) this.#arm({ queue, watch });
  }

  /** Has a ring asked of each chain no more than is needed. */
  #arm({ queue, watch }: Held): void {
    const stops = this.#asleep ? [] : [...this.#stops.values()].filter((stop) => stop.isOf(queue));
    const chains = stops.filter(({ on }) => on.kind !== 'broken');
    const broken = stops.find(({ on }) => on.kind === 'broken');
    for (const stop of stops) stop.arm(watch);
    watch.stopAt = chains.length === 0 ? undefined : () => this.#stopAt(chains, { queue, watch });
    watch.stopBroken = broken && ((error) => this.#stopBroken(broken, queue, error));
  }

  #stopAt(stops: readonly Stop[], { queue, watch }: Held): boolean {
    const stop = stops.find((each) => each.hit(watch, queue));
    if (stop === undefined) return false;
    stop.hits += 1;
    const { id, reason } = stop;
    this.#held(queue, { since: this.#now(), by: 'breakpoint', breakpoint: id, reason });
    return true;
  }

  #stopBroken(stop: Stop, queue: QueueModel, error: VirtqueueError): boolean {
    stop.hits += 1;
    const reason = printable(`${error.section}: ${error.message}`);
    this.#held(queue, { since: this.#now(), by: 'broken', breakpoint: stop.id, reason });
    return true;
  }

  #held(queue: QueueModel, reason: Reason): void {
    this.#holds.set(queue, reason);
    this.#tell(queue, 'hold', reason.reason);
  }
}

/** What a held queue would give next. */
function nextView({ queue, watch }: Held): Pick<Hold, 'next' | 'unseen'> {
  if (watch.remote) return { unseen: 'its memory is reached by messages' };
  const chain = watch.counts.taken + 1;
  const next = watch.failure ?? nextOf(watch);
  if (next === undefined) return {};
  if (next instanceof Error) {
    const broken = {
      ...(next instanceof VirtqueueError && { rule: next.section }),
      error: printable(next.message),
    };
    const request = { bytes: '', length: 0, fields: [] };
    const text = 'breaks the queue';
    return { next: { chain, head: -1, readable: 0, writable: 0, descriptors: [], request, text, broken } };
  }
  const { head, readable, writable, descriptors, bytes } = next;
  const shape = queue.shape.request;
  const view: HeldNext = {
    chain,
    head,
    readable,
    writable,
    descriptors,
    request: bytesView(bytes, readable, shape),
    text: readable > 0 ? bytesText(bytes, readable, shape) : `room for ${writable} B`,
  };
  return { next: view };
}
