import { type Signal, signal } from '@preact/signals';
import type {
  Breakpoint,
  ConnectionState,
  Frame,
  Hello,
  Hold,
  PlotPoint,
  QueueState,
  RingSample,
  TimelineItem,
} from '../../protocol.js';
import { Lane } from './lane.js';

/** Points of plots that a queue keeps: five minutes of a live server. */
const POINTS = 1200;
/** Characters of a line that are kept: a peer may have the device print what it likes. */
const TEXT = 4096;
/** Lines that are listed. */
const LINES = 2000;

/** What tells of queues apart. */
export function queueKey(connection: number, queue: number | undefined): string {
  return `${connection}/${queue ?? ''}`;
}

/** A line of a device, or about one, or what else is told in words. */
export type Said = Extract<TimelineItem, { type: 'line' | 'warning' | 'broken' | 'event' }>;

/** All that the page knows, as the server told it. */
export class Model {
  readonly hello: Signal<Hello | undefined> = signal(undefined);
  readonly connections: Signal<ReadonlyMap<number, ConnectionState>> = signal(new Map());
  readonly queues: Signal<ReadonlyMap<string, QueueState>> = signal(new Map());
  readonly rings: Signal<ReadonlyMap<string, RingSample>> = signal(new Map());
  readonly holds: Signal<readonly Hold[]> = signal([]);
  readonly breakpoints: Signal<readonly Breakpoint[]> = signal([]);
  /** Frames that this page was too slow for. */
  readonly missed: Signal<number> = signal(0);
  readonly said: Signal<readonly Said[]> = signal([]);
  /** Goes up when a lane has something new; and when the points of a plot do. */
  readonly itemsVersion: Signal<number> = signal(0);
  readonly pointsVersion: Signal<number> = signal(0);
  readonly lanes: Map<string, Lane> = new Map();
  readonly points: Map<string, PlotPoint[]> = new Map();
  /** How far the server's clock is ahead of this page's, ns. */
  #ahead = 0;

  /** Begins anew. */
  begin(hello: Hello, now: number): void {
    this.connections.value = new Map();
    this.queues.value = new Map();
    this.rings.value = new Map();
    this.holds.value = [];
    this.breakpoints.value = [];
    this.said.value = [];
    this.lanes.clear();
    this.points.clear();
    this.hello.value = hello;
    this.#ahead = hello.time - now;
    this.take(hello.state, now);
  }

  /** @param now - of this page's clock, ns. */
  take(frame: Frame, now: number): void {
    this.missed.value = frame.missed;
    // The frame that came soonest tells best; a clock that runs a little faster than ours is followed slowly.
    this.#ahead = Math.max(this.#ahead - 1e5, frame.time - now);
    if (frame.connections || frame.forgotten) this.#connect(frame);
    if (frame.queues) {
      const queues = new Map(this.queues.value);
      for (const queue of frame.queues) queues.set(queueKey(queue.connection, queue.queue), queue);
      this.queues.value = queues;
    }
    if (frame.rings) {
      const rings = new Map(this.rings.value);
      for (const ring of frame.rings) rings.set(queueKey(ring.connection, ring.queue), ring);
      this.rings.value = rings;
    }
    if (frame.items && frame.items.length > 0) this.add(frame.items);
    if (frame.points && frame.points.length > 0) this.#plot(frame.points);
    if (frame.holds) this.holds.value = frame.holds;
    if (frame.breakpoints) this.breakpoints.value = frame.breakpoints;
  }

  /** Items, new or known. */
  add(items: readonly TimelineItem[]): void {
    let said: Map<number, Said> | undefined;
    for (const told of items) {
      const item = 'text' in told && told.text.length > TEXT ? { ...told, text: shortened(told.text) } : told;
      this.lane(item.connection, item.queue).put(item);
      if (item.type !== 'line' && item.type !== 'warning' && item.type !== 'broken' && item.type !== 'event')
        continue;
      said ??= new Map(this.said.value.map((one) => [one.id, one]));
      said.set(item.id, item);
    }
    if (said !== undefined) this.said.value = [...said.values()].sort((a, b) => a.id - b.id).slice(-LINES);
    this.itemsVersion.value = this.itemsVersion.peek() + 1;
  }

  lane(connection: number, queue: number | undefined): Lane {
    const key = queueKey(connection, queue);
    let lane = this.lanes.get(key);
    if (lane === undefined) {
      lane = new Lane(connection, queue);
      this.lanes.set(key, lane);
    }
    return lane;
  }

  /** The server's time. @param now - of this page's clock, ns. */
  time(now: number): number {
    const hello = this.hello.peek();
    if (hello === undefined) return 0;
    return this.recording ? hello.time : now + this.#ahead;
  }

  /** What is shown is a recording, which has an end. */
  get recording(): boolean {
    const hello = this.hello.peek();
    return hello?.sources.find(({ id }) => id === hello.source)?.kind === 'recording';
  }

  /** The queues of a connection, by number. */
  queuesOf(connection: number | undefined): QueueState[] {
    return [...this.queues.value.values()]
      .filter((queue) => queue.connection === connection)
      .sort((a, b) => a.queue - b.queue);
  }

  #connect({ connections = [], forgotten = [] }: Frame): void {
    const known = new Map(this.connections.value);
    for (const connection of connections) known.set(connection.connection, connection);
    for (const connection of forgotten) {
      known.delete(connection);
      for (const [key, lane] of this.lanes) if (lane.connection === connection) this.lanes.delete(key);
      for (const key of this.points.keys()) if (key.startsWith(`${connection}/`)) this.points.delete(key);
    }
    this.connections.value = known;
    if (forgotten.length > 0) {
      const stays = ({ connection }: { connection: number }): boolean => known.has(connection);
      this.queues.value = new Map([...this.queues.value].filter(([, queue]) => stays(queue)));
      this.rings.value = new Map([...this.rings.value].filter(([, ring]) => stays(ring)));
    }
  }

  #plot(points: readonly PlotPoint[]): void {
    for (const point of points) {
      const key = queueKey(point.connection, point.queue);
      const kept = this.points.get(key) ?? [];
      kept.push(point);
      if (kept.length > POINTS) kept.splice(0, kept.length - POINTS);
      this.points.set(key, kept);
    }
    this.pointsVersion.value = this.pointsVersion.peek() + 1;
  }
}

function shortened(text: string): string {
  return `${text.slice(0, TEXT)}… (${text.length - TEXT} more)`;
}
