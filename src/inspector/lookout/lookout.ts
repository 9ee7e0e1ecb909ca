import type { InspectEvent } from '../../observe/event.js';
import type { Listener } from '../../observe/observer.js';
import type { DeviceWatch, RingCounts, RingWatch } from '../../observe/ring-watch.js';
import { BYTES } from '../chain-entry.js';
import { CommandError } from '../command-error.js';
import { queueShape } from '../queue-shape.js';
import { copyOfRing } from './copy-of-ring.js';
import { Debugger } from './debugger.js';
import type { Ear } from './ear.js';
import {
  type Arms,
  type CarriedHold,
  type Eyes,
  type Look,
  NO_ARMS,
  type QueueOrder,
  type Reason,
} from './eyes.js';
import type { WatchedQueue } from './watched-queue.js';

/** Chains of a queue that are told of between two looks: all, while they are no more than that; of more, a few. */
const ALL = 64;
const FEW = 12;
/** The same of all queues together. */
const TOGETHER = 256;
/** Lines of a device. */
const LINES = 32;

const ZERO: RingCounts = { taken: 0, used: 0, kicks: 0, interrupts: 0, suppressed: 0, unkicked: 0 };

/** A queue, with the ring that is under it. */
interface Seen extends WatchedQueue {
  ring: RingWatch | undefined;
  counts: RingCounts;
  waiting: number;
  /** What it had counted when it was looked at last. */
  pulse: number | undefined;
}

/** A connection. */
interface Watched {
  readonly watch: DeviceWatch;
  readonly queues: readonly Seen[];
}

/**
 * Looks at devices in the process that serves them, and says what it sees to an `Ear`, which may be elsewhere. It hears of few chains in detail, however many
 * there are, and looks at rings when it is told to. Nothing of what it does is more than a moment's work.
 */
export class Lookout implements Eyes {
  readonly debugger: Debugger;
  readonly #now: () => number;
  readonly #ear: Ear;
  /** Connections have numbers of one server. */
  readonly #ownNumbers: boolean;
  readonly #watched = new Map<number, Watched>();
  /** Queues of connections that are known by their `connected` alone. */
  readonly #coming = new Map<number, readonly Seen[]>();
  #connections = 0;
  /** Something may be held; far away, also until it is said whether it is. */
  #watchful: boolean;
  #held = false;

  /**
   * @param now - ns.
   * @param ownNumbers - connections keep the numbers that they have; else they are counted over all servers.
   */
  constructor(now: () => number, ear: Ear, ownNumbers = false) {
    this.#now = now;
    this.#ear = ear;
    this.#ownNumbers = ownNumbers;
    this.#watchful = ownNumbers;
    this.debugger = new Debugger(now, ({ connection, queue }, what, text) =>
      ear.did(connection, queue, what, text, now()),
    );
  }

  /** Who hears of one server. */
  listener(): Listener {
    const numbers = new Map<number, number>();
    let offset: number | undefined;
    return {
      bytes: BYTES,
      hear: (event) => {
        // Each server's clock has a beginning of its own.
        offset ??= this.#now() - event.time;
        this.#connections += event.type === 'connected' ? 1 : 0;
        if (event.type === 'connected')
          numbers.set(event.connection, this.#ownNumbers ? event.connection : this.#connections);
        const connection = numbers.get(event.connection);
        if (connection === undefined) return;
        this.#hear({ ...event, time: event.time + offset, connection });
        if (event.type === 'gone') numbers.delete(event.connection);
      },
      watch: (watch) => {
        const connection = numbers.get(watch.connection)!;
        this.#watched.set(connection, { watch, queues: this.#coming.get(connection)! });
        this.#coming.delete(connection);
        watch.showLines(LINES);
      },
    };
  }

  look({ looked, rings }: Look): void {
    let left = TOGETHER;
    for (const [connection, { watch, queues }] of this.#watched) {
      const lines = watch.showLines(looked ? LINES : 0);
      if (lines > 0) this.#ear.missedLines(connection, lines, this.#now());
      for (const queue of queues) left -= this.#lookAt(queue, looked, left);
    }
    for (const { connection, queue } of rings) this.#copy(this.#watched.get(connection)?.queues[queue]);
    this.#tellHolds();
  }

  arm(arms: Arms): void {
    this.#take(arms);
    this.#tellHolds();
  }

  /** @throws CommandError for what can't be. */
  run({ command, connection, queue, chains = 1 }: QueueOrder): void {
    const watched = this.#watched.get(connection);
    if (watched === undefined) throw new CommandError(`there is no connection ${connection}`);
    const one = queue === undefined ? undefined : watched.queues[queue];
    if (queue !== undefined && one === undefined)
      throw new CommandError(`connection ${connection} has no queue ${queue}`);
    for (const each of one === undefined ? watched.queues : [one]) {
      if (command === 'hold') this.debugger.hold(each);
      else if (command === 'release') this.debugger.release(each);
      else this.debugger.step(each, chains);
    }
    this.#tellHolds();
  }

  confirm(connection: number, holds: readonly CarriedHold[]): void {
    const queues = this.#watched.get(connection)?.queues ?? [];
    const held = new Map<WatchedQueue, Reason>();
    for (const { queue, ...reason } of holds) {
      const of = queues[queue];
      if (of !== undefined) held.set(of, reason);
    }
    this.debugger.confirm(connection, held);
    this.#tellHolds();
  }

  /** Nobody looks any more, and nobody will. What was held is not said to be let go: another process may hold it on. */
  close(): void {
    this.#take(NO_ARMS);
  }

  #take(arms: Arms): void {
    this.#watchful = arms.watchful;
    this.debugger.arm(arms);
    if (!arms.watchful) this.debugger.confirmAll();
  }

  #hear(event: InspectEvent): void {
    const { connection } = event;
    if (event.type === 'connected') this.#come(event.device, connection);
    const watched = this.#watched.get(connection);
    if (watched !== undefined) this.#before(event, watched);
    this.#ear.event(event);
    if (watched === undefined) return;
    if (event.type === 'queue-started') this.#started(watched, event.queue);
    else if (event.type === 'gone') this.#watched.delete(connection);
    else if (event.type === 'broken' && event.queue !== undefined) {
      const queue = watched.queues[event.queue];
      if (queue !== undefined) this.debugger.broke(queue);
    }
  }

  #come(device: Extract<InspectEvent, { type: 'connected' }>['device'], connection: number): void {
    const queues = device.queues.map((spec, queue): Seen => {
      const of = { connection, queue, name: spec.name, shape: queueShape(device.id, spec) };
      return { ...of, ring: undefined, counts: ZERO, waiting: 0, pulse: undefined };
    });
    this.#coming.set(connection, queues);
    if (this.#watchful) this.debugger.expect(connection);
  }

  /** Takes what a ring counted before it goes. */
  #before(event: InspectEvent, { queues }: Watched): void {
    const over = event.type === 'reset' || event.type === 'gone';
    if (!over && event.type !== 'queue-stopped') return;
    for (const queue of queues) {
      if (event.type === 'queue-stopped' && event.queue !== queue.queue) continue;
      this.#count(queue);
      queue.ring = undefined;
      if (over) this.debugger.forget(queue);
      else this.debugger.stopped(queue);
    }
  }

  #started({ watch, queues }: Watched, index: number): void {
    const ring = watch.ringOf(index);
    const queue = queues[index];
    if (ring === undefined || queue === undefined) return;
    Object.assign(queue, { ring, counts: ZERO, waiting: 0, pulse: undefined });
    ring.show(ALL);
    this.debugger.started(queue, ring);
  }

  /** @returns how many of its chains are told of until the next look, at most. */
  #lookAt(queue: Seen, looked: boolean, left: number): number {
    const { ring } = queue;
    if (ring === undefined) return 0;
    const passed = this.#count(queue);
    if (!looked) return 0;
    const chains = Math.min(passed > ALL ? FEW : ALL, Math.max(left, 4));
    const missed = ring.show(chains);
    if (missed !== undefined) this.#ear.missed(queue.connection, queue.queue, missed, this.#now());
    return Math.min(chains, passed);
  }

  /** @returns chains that were taken since the last time. */
  #count(queue: Seen): number {
    const { ring, counts: before } = queue;
    if (ring === undefined) return 0;
    const counts = { ...ring.counts };
    const { available } = ring;
    const more = {
      taken: counts.taken - before.taken,
      used: counts.used - before.used,
      kicks: counts.kicks - before.kicks,
      interrupts: counts.interrupts - before.interrupts,
      suppressed: counts.suppressed - before.suppressed,
      unkicked: counts.unkicked - before.unkicked,
    };
    queue.counts = counts;
    const some = more.taken + more.used + more.kicks + more.interrupts + more.suppressed + more.unkicked > 0;
    if (some || available !== queue.waiting) {
      queue.waiting = available;
      this.#ear.counted(queue.connection, queue.queue, more, available);
    }
    return more.taken;
  }

  /** A ring as it is now, if it may be another than it was. */
  #copy(queue: Seen | undefined): void {
    if (queue === undefined) return;
    const { ring, connection, queue: index } = queue;
    const pulse = ring === undefined ? -1 : pulseOf(ring);
    if (pulse === queue.pulse) return;
    queue.pulse = pulse;
    this.#ear.ring(copyOfRing(connection, index, ring, this.#now()));
  }

  #tellHolds(): void {
    for (const hits of this.debugger.hits()) this.#ear.hits(hits);
    const { holding } = this.debugger;
    if (!holding && !this.#held) return;
    this.#held = holding;
    this.#ear.holds(this.debugger.holds());
  }
}

/** Grows whenever a ring may be another than before. */
function pulseOf({ counts, available }: RingWatch): number {
  const { taken, used, kicks, interrupts, suppressed } = counts;
  // What the driver does by itself is seen in what is available.
  return taken + used + kicks + interrupts + suppressed + 0x1_0000_0000 * available;
}
