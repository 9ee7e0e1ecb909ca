import type { InspectEvent } from '../observe/event.js';
import { ChainEntry } from './chain-entry.js';
import { ConnectionModel } from './connection-model.js';
import type {
  ChainDetail,
  ConnectionState,
  Frame,
  PlotPoint,
  TimelineAnswer,
  TimelineItem,
} from './protocol.js';
import type { Kept, QueueModel } from './queue-model.js';
import type { Sink } from './sink.js';
import type { Entry } from './timeline.js';

/** Connections that went and are still shown, and items of each queue in a first frame. */
const GONE = 16;
const FIRST = 500;

/** What changed since the last time. */
export type Changes = Pick<Frame, 'connections' | 'forgotten' | 'queues' | 'items' | 'points'>;

/** All that is known of some connections, made of events. */
export class Model implements Sink {
  readonly #kept: Kept;
  readonly #connections = new Map<number, ConnectionModel>();
  #ids = 0;
  readonly #changed = new Map<number, Entry>();
  #points: PlotPoint[] = [];
  #forgotten: number[] = [];

  constructor(kept: Kept) {
    this.#kept = kept;
  }

  get connections(): IterableIterator<ConnectionModel> {
    return this.#connections.values();
  }

  connection(number: number): ConnectionModel | undefined {
    return this.#connections.get(number);
  }

  queue(connection: number, queue: number): QueueModel | undefined {
    return this.#connections.get(connection)?.queues[queue];
  }

  nextId(): number {
    this.#ids += 1;
    return this.#ids;
  }

  changed(entry: Entry): void {
    this.#changed.set(entry.id, entry);
  }

  /** @param counted - whether each event is to be counted: of a recording they all are there. */
  hear(event: InspectEvent, counted: boolean): void {
    const { connection } = event;
    if (event.type === 'connected') {
      this.#connections.set(connection, new ConnectionModel(connection, event, this, this.#kept));
      return;
    }
    this.#connections.get(connection)?.hear(event, counted);
    if (event.type === 'gone') this.#forget();
  }

  /** The next point of a queue's plots. */
  point(queue: QueueModel, time: number, waiting: number): void {
    const point = queue.point(time, waiting);
    if (point !== undefined) this.#points.push(point);
  }

  /** What is new since the last call. */
  take(): Changes {
    for (const connection of this.#connections.values()) connection.flush();
    const connections = [...this.#connections.values()].filter((connection) => connection.dirty);
    const queues = this.#queues().filter((queue) => queue.dirty);
    const items = [...this.#changed.values()].sort((a, b) => a.id - b.id).map((entry) => entry.item());
    const points = this.#points;
    const forgotten = this.#forgotten;
    this.#changed.clear();
    this.#points = [];
    this.#forgotten = [];
    return {
      ...(connections.length > 0 && { connections: connections.map(stateOf) }),
      ...(forgotten.length > 0 && { forgotten }),
      ...(queues.length > 0 && {
        queues: queues.map((queue) => {
          queue.dirty = false;
          return queue.state();
        }),
      }),
      ...(items.length > 0 && { items }),
      ...(points.length > 0 && { points }),
    };
  }

  /** Nobody wants what is new. */
  discard(): void {
    for (const connection of this.#connections.values()) connection.flush();
    this.#changed.clear();
    this.#points = [];
    this.#forgotten = [];
  }

  /** Everything. @param since - the points from then on. */
  whole(since: number, items: boolean): Changes {
    const queues = this.#queues();
    const timelines = [...this.#connections.values()].flatMap(({ timeline, queues }) => [
      timeline,
      ...queues.map((queue) => queue.timeline),
    ]);
    const entries = items ? timelines.flatMap((timeline) => timeline.last(FIRST)) : [];
    return {
      connections: [...this.#connections.values()].map((connection) => connection.state()),
      queues: queues.map((queue) => queue.state()),
      points: queues
        .flatMap(({ points }) => points.filter(({ time }) => time > since))
        .sort((a, b) => a.time - b.time),
      ...(items && { items: entries.sort((a, b) => a.id - b.id).map((entry) => entry.item()) }),
    };
  }

  /** What is kept of a stretch of time. @param queue - with `connection`, one alone. */
  timeline(
    where: { readonly connection?: number | undefined; readonly queue?: number | undefined },
    from: number,
    to: number,
    limit: number,
  ): TimelineAnswer {
    const lanes = [...this.#connections.values()]
      .filter(({ connection }) => where.connection === undefined || connection === where.connection)
      .flatMap(({ connection, timeline, queues }) => [
        ...(where.queue === undefined ? [{ of: { connection }, timeline }] : []),
        ...queues
          .filter(({ queue }) => where.queue === undefined || queue === where.queue)
          .map(({ queue, timeline }) => ({ of: { connection, queue }, timeline })),
      ]);
    const timelines = lanes.map(({ timeline }) => timeline);
    const entries = timelines
      .flatMap((timeline) => timeline.between(from, to))
      .sort((a, b) => a.time - b.time);
    const starts = timelines.flatMap(({ start }) => start ?? []);
    const kept = entries.length <= limit ? entries : thinned(entries, limit);
    return {
      items: kept.map((entry): TimelineItem => entry.item()),
      omitted: entries.length - kept.length,
      start: starts.reduce((least, start) => Math.min(least, start), starts[0] ?? from),
      kept: lanes.flatMap(({ of, timeline: { kept } }) => (kept === undefined ? [] : { ...of, from: kept })),
    };
  }

  /** All about a chain that is kept. */
  chain(connection: number, queue: number, id: number): ChainDetail | undefined {
    const model = this.queue(connection, queue);
    const entry = model?.timeline.find(id);
    return entry instanceof ChainEntry ? entry.detail(model!.name) : undefined;
  }

  #queues(): QueueModel[] {
    return [...this.#connections.values()].flatMap(({ queues }) => queues);
  }

  /** The oldest of those that went. */
  #forget(): void {
    const gone = [...this.#connections.values()].filter((connection) => connection.gone);
    for (const { connection } of gone.slice(0, Math.max(0, gone.length - GONE))) {
      this.#connections.delete(connection);
      this.#forgotten.push(connection);
    }
  }
}

function stateOf(connection: ConnectionModel): ConnectionState {
  connection.dirty = false;
  return connection.state();
}

/** Evenly fewer. */
function thinned(entries: readonly Entry[], limit: number): Entry[] {
  const step = entries.length / limit;
  return Array.from({ length: limit }, (_, i) => entries[Math.floor(i * step)]!);
}
