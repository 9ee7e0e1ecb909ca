import type { ConnectedEvent, InspectEvent } from '../observe/event.js';
import type { RingCounts, Unseen } from '../observe/ring-watch.js';
import type { Ear, Hits, RingSeen } from './lookout/ear.js';
import type { Model } from './model.js';
import type { Hold } from './protocol.js';
import type { Stops } from './stops.js';

/** What an ear tells further. */
export interface OfLive {
  readonly model: Model;
  readonly stops: Stops;
  came(event: ConnectedEvent): void;
  /** A front-end left, and nobody else would say so. */
  left(connection: number, error: string | undefined, time: number): void;
  /** What is held is another now. */
  heard(): void;
  /** Something passed that is not told of. */
  missed(): void;
}

/** What a lookout said of a queue last. */
export interface Sight {
  readonly seen: RingSeen | undefined;
  /** Grows with each look at its ring. */
  readonly pulse: number;
  /** Chains that wait in it. */
  waiting: number;
}

/** How a process let go of a connection, and when. */
export interface Over {
  readonly error: string | undefined;
  readonly time: number;
}

/** Makes a model of what one lookout sees. */
export class LiveEar implements Ear {
  readonly #live: OfLive;
  /** Its number, where that is another process: then a connection is over when somebody else says so. */
  readonly process: number | undefined;
  /** By connection, and by queue. */
  readonly #queues = new Map<number, Map<number, Sight>>();
  #looks = 0;
  #held: readonly Hold[] = [];
  /** Connections that its process has no more to do with. */
  readonly over: Map<number, Over> = new Map();

  constructor(live: OfLive, process: number | undefined) {
    this.#live = live;
    this.process = process;
  }

  get held(): readonly Hold[] {
    return this.#held;
  }

  /** What is known of a queue. */
  sight(connection: number, queue: number): Sight | undefined {
    return this.#queues.get(connection)?.get(queue);
  }

  /** It is not there any more. */
  forget(connection: number): void {
    this.#queues.delete(connection);
    this.over.delete(connection);
    this.#held = this.#held.filter((hold) => hold.connection !== connection);
  }

  event(event: InspectEvent): void {
    if (event.type === 'connected') this.#live.came(event);
    else if (event.type !== 'gone') this.#live.model.hear(event, false);
    else if (this.process !== undefined)
      this.over.set(event.connection, { error: event.error, time: event.time });
    else this.#live.left(event.connection, event.error, event.time);
  }

  counted(connection: number, queue: number, counts: RingCounts, waiting: number): void {
    this.#live.model.queue(connection, queue)?.count(counts);
    this.#sightOf(connection, queue).waiting = waiting;
  }

  missed(connection: number, queue: number, unseen: Unseen, time: number): void {
    this.#live.model.queue(connection, queue)?.missed(unseen, time);
    if (unseen.taken > 0) this.#live.missed();
  }

  missedLines(connection: number, lines: number, time: number): void {
    this.#live.model.connection(connection)?.missedLines(lines, time);
  }

  did(connection: number, queue: number, what: 'hold' | 'release', text: string, time: number): void {
    this.#live.model.connection(connection)?.tell(time, what, text, queue);
  }

  ring(seen: RingSeen): void {
    this.#looks += 1;
    Object.assign(this.#sightOf(seen.connection, seen.queue), { seen, pulse: this.#looks });
  }

  holds(holds: readonly Hold[]): void {
    this.#held = holds;
    this.#live.heard();
  }

  hits(hits: Hits): void {
    this.#live.stops.hit(hits);
  }

  #sightOf(connection: number, queue: number): Sight {
    let queues = this.#queues.get(connection);
    if (queues === undefined) {
      queues = new Map();
      this.#queues.set(connection, queues);
    }
    let sight = queues.get(queue);
    if (sight === undefined) {
      sight = { seen: undefined, pulse: -1, waiting: 0 };
      queues.set(queue, sight);
    }
    return sight;
  }
}
