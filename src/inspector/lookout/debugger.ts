import { printable } from '../../lines/printable.js';
import type { RingWatch } from '../../observe/ring-watch.js';
import { VirtqueueError } from '../../virtqueue/virtqueue-error.js';
import { bytesText, bytesView } from '../chain-entry.js';
import { CommandError } from '../command-error.js';
import type { HeldNext, Hold } from '../protocol.js';
import { nextOf, Stop } from './breakpoint.js';
import type { Hits } from './ear.js';
import type { Arms, Reason } from './eyes.js';
import type { WatchedQueue } from './watched-queue.js';

/** A queue with the ring under it. */
interface Held {
  readonly queue: WatchedQueue;
  readonly watch: RingWatch;
}

/** Holds and breakpoints. They are of queues: the rings under these come and go. */
export class Debugger {
  readonly #now: () => number;
  /** Hears of what it did: `hold` or `release`. */
  readonly #tell: (queue: WatchedQueue, what: 'hold' | 'release', text: string) => void;
  readonly #rings = new Map<WatchedQueue, RingWatch>();
  readonly #holds = new Map<WatchedQueue, Reason>();
  readonly #stops = new Map<number, Stop>();
  #asleep = false;
  /** Connections whose queues wait until it is said what holds them. */
  readonly #unconfirmed = new Set<number>();

  constructor(
    now: () => number,
    tell: (queue: WatchedQueue, what: 'hold' | 'release', text: string) => void,
  ) {
    this.#now = now;
    this.#tell = tell;
  }

  /** A ring is under this queue. */
  started(queue: WatchedQueue, watch: RingWatch): void {
    this.#rings.set(queue, watch);
    if (this.#holds.has(queue) || this.#unconfirmed.has(queue.connection)) watch.hold();
    this.#arm({ queue, watch });
  }

  /** It is not there any more. What holds the queue holds the next one, too. */
  stopped(queue: WatchedQueue): void {
    this.#rings.delete(queue);
  }

  /** The driver forgot all it said, or went: nobody waits. */
  forget(queue: WatchedQueue): void {
    this.#rings.delete(queue);
    this.#holds.delete(queue);
  }

  /** It is broken: there is nothing to hold. */
  broke(queue: WatchedQueue): void {
    if (this.#holds.delete(queue)) this.#rings.get(queue)?.release();
  }

  hold(queue: WatchedQueue): void {
    if (this.#holds.has(queue)) return;
    this.#rings.get(queue)?.hold();
    this.#held(queue, { since: this.#now(), by: 'person', reason: 'held' });
  }

  /** @throws CommandError when it is not held. */
  step(queue: WatchedQueue, chains: number): void {
    if (!this.#holds.has(queue)) throw new CommandError(`${queue.name} is not held: hold it first`);
    this.#rings.get(queue)?.step(chains);
  }

  release(queue: WatchedQueue): void {
    if (!this.#holds.delete(queue)) return;
    this.#rings.get(queue)?.release();
    this.#tell(queue, 'release', 'goes on');
  }

  releaseAll(): void {
    for (const queue of [...this.#holds.keys()]) this.release(queue);
  }

  /** Breakpoints, from now on. While nobody looks nothing is held, and none of them hits. */
  arm({ asleep, stops }: Arms): void {
    for (const id of [...this.#stops.keys()])
      if (!stops.some((stop) => stop.id === id)) this.#stops.delete(id);
    for (const spec of stops) {
      const known = this.#stops.get(spec.id);
      // The process of that connection is known by now.
      if (known === undefined || known.connection !== spec.connection)
        this.#stops.set(spec.id, new Stop(spec));
      else known.enabled = spec.enabled;
    }
    if (asleep && !this.#asleep) this.releaseAll();
    this.#asleep = asleep;
    this.#armAll();
  }

  /** Another process had this connection: its queues wait until it is said what holds them. */
  expect(connection: number): void {
    this.#unconfirmed.add(connection);
  }

  /** @param held - what holds queues of a connection that waits. */
  confirm(connection: number, held: ReadonlyMap<WatchedQueue, Reason>): void {
    if (!this.#unconfirmed.delete(connection)) return;
    for (const [queue, reason] of held) this.#holds.set(queue, reason);
    for (const [queue, watch] of this.#rings)
      if (queue.connection === connection && !this.#holds.has(queue)) watch.release(true);
  }

  /** Nobody will say anything any more. */
  confirmAll(): void {
    for (const connection of [...this.#unconfirmed]) this.confirm(connection, new Map());
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

  /** What breakpoints did since the last call. */
  *hits(): Iterable<Hits> {
    for (const stop of this.#stops.values()) {
      const { id, hits, misfits } = stop;
      if (hits === 0 && misfits === 0) continue;
      stop.hits = 0;
      stop.misfits = 0;
      yield { id, hits, misfits };
    }
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

  #stopBroken(stop: Stop, queue: WatchedQueue, error: VirtqueueError): boolean {
    stop.hits += 1;
    const reason = printable(`${error.section}: ${error.message}`);
    this.#held(queue, { since: this.#now(), by: 'broken', breakpoint: stop.id, reason });
    return true;
  }

  #held(queue: WatchedQueue, reason: Reason): void {
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
    return { next: { chain, readable: 0, writable: 0, descriptors: [], request, text, broken } };
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
