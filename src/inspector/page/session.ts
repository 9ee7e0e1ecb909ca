import { batch, computed, effect, type ReadonlySignal, type Signal, signal } from '@preact/signals';
import { type Context, createContext } from 'preact';
import { useContext } from 'preact/hooks';
import type { ChainDetail, ChainItem, Command, ConnectionState, Hold, QueueState } from '../protocol.js';
import * as ask from './feed/ask.js';
import { Feed, pageNow } from './feed/feed.js';
import { Model, queueKey } from './model/model.js';
import { around, type TimeWindow, zoomed } from './model/time-window.js';

/** What the right side shows. */
export const PANES = ['request', 'plots', 'log', 'breakpoints'] as const;
export type Pane = (typeof PANES)[number];

/** ns that a fresh page shows of the past. */
const FIRST_SPAN = 4e9;
/** Items that are asked for at once. */
const LIMIT = 10_000;

/** What a person looks at, and what may be done. */
export class Session {
  readonly model: Model = new Model();
  readonly feed: Feed = new Feed(this.model);
  readonly pane: Signal<Pane> = signal('request');
  readonly help: Signal<boolean> = signal(false);
  /** One line about what went wrong last. */
  readonly notice: Signal<string> = signal('');
  /** The window of the timeline; while `follows`, its end is now. */
  readonly window: Signal<TimeWindow> = signal({ from: 0, span: FIRST_SPAN });
  readonly follows: Signal<boolean> = signal(true);
  /** The request that is looked at. */
  readonly chosen: Signal<ChainItem | undefined> = signal(undefined);
  readonly detail: Signal<ChainDetail | undefined> = signal(undefined);

  readonly #connection: Signal<number | undefined> = signal(undefined);
  readonly #queue: Signal<number | undefined> = signal(undefined);
  #asked = '';
  #wanted: number | undefined;
  #fill: ReturnType<typeof setTimeout> | undefined;

  /** The connection that is looked at: the first that is still there, until one is chosen. */
  readonly connection: ReadonlySignal<ConnectionState | undefined> = computed(() => {
    const all = [...this.model.connections.value.values()];
    return (
      all.find(({ connection }) => connection === this.#connection.value) ??
      all.find(({ gone }) => gone === undefined) ??
      all.at(-1)
    );
  });

  readonly queue: ReadonlySignal<QueueState | undefined> = computed(() => {
    const queues = this.model.queuesOf(this.connection.value?.connection);
    return (
      queues.find(({ queue }) => queue === this.#queue.value) ??
      queues.find(({ running }) => running) ??
      queues[0]
    );
  });

  /** The hold of the queue that is looked at. */
  readonly hold: ReadonlySignal<Hold | undefined> = computed(() => {
    const queue = this.queue.value;
    return this.model.holds.value.find(
      (hold) => hold.connection === queue?.connection && hold.queue === queue?.queue,
    );
  });

  constructor() {
    effect(() => this.#view());
    // A breakpoint that hits shows what it hit.
    let before = new Set<string>();
    effect(() => {
      const holds = this.model.holds.value;
      const hit = holds.find(
        (hold) => hold.by !== 'person' && !before.has(queueKey(hold.connection, hold.queue)),
      );
      before = new Set(holds.map((hold) => queueKey(hold.connection, hold.queue)));
      if (hit === undefined) return;
      batch(() => {
        this.choose(hit.connection, hit.queue);
        this.look(undefined);
        this.pane.value = 'request';
      });
    });
    effect(() => {
      if (this.model.hello.value === undefined) return;
      batch(() => this.#beginWindow());
    });
    effect(() => this.#backfill());
  }

  /** Looks at another queue. */
  choose(connection: number, queue?: number): void {
    batch(() => {
      if (this.#connection.value !== connection) this.look(undefined);
      this.#connection.value = connection;
      if (queue !== undefined) this.#queue.value = queue;
    });
  }

  /** Looks at a request, and has it read back. */
  look(item: ChainItem | undefined): void {
    this.chosen.value = item;
    this.detail.value = undefined;
    this.#wanted = item?.id;
    if (item?.queue !== undefined) this.lookUp(item.connection, item.queue, item.id);
  }

  /** The same, of one that only its number is known of. */
  lookUp(connection: number, queue: number, id: number): void {
    this.#wanted = id;
    this.pane.value = 'request';
    this.tried(
      ask.chain({ source: this.source, connection, queue, id }).then((detail) => {
        if (this.#wanted !== id) return;
        batch(() => {
          this.chosen.value = detail.item;
          this.detail.value = detail;
        });
      }),
    );
  }

  /** Moves the timeline; it follows no more what happens now. */
  show(window: TimeWindow): void {
    batch(() => {
      this.follows.value = false;
      this.window.value = window;
    });
  }

  /** The stretch of time that is to be seen at this moment. */
  get shown(): TimeWindow {
    const window = this.window.value;
    return this.follows.value ? { from: this.now - window.span, span: window.span } : window;
  }

  /** Closer or further: around the end while it follows, around what is told or the middle else. */
  zoom(factor: number, at?: number): void {
    const { from, span } = this.shown;
    if (this.follows.value) this.window.value = zoomed({ from, span }, from + span, factor);
    else this.show(zoomed({ from, span }, at ?? from + span / 2, factor));
  }

  /** Moves by a part of what is shown; forwards up to now. */
  pan(part: number): void {
    const { from, span } = this.shown;
    this.show({ from: Math.min(from + part * span, this.now - span / 10), span });
  }

  /** Zooms to the request that is looked at. */
  zoomToChosen(): void {
    const item = this.chosen.value;
    if (item === undefined) return;
    const end = item.interrupt ?? item.used ?? this.now;
    this.show(around(Math.min(item.available ?? item.time, item.time), end));
  }

  /** All that is known. */
  showAll(): void {
    const { start = 0 } = this.model.hello.value ?? {};
    this.show(around(start, Math.max(this.now, start + 1e6)));
  }

  /** What is now at the end, and stays there. */
  follow(): void {
    if (this.model.recording) this.showAll();
    else this.follows.value = true;
  }

  /** The request before (-1) or behind the one that is looked at; from the end of the window without one. */
  step(by: 1 | -1): void {
    const queue = this.queue.value;
    if (queue === undefined) return;
    const lane = this.model.lane(queue.connection, queue.queue);
    const { from, span } = this.shown;
    const chosen = this.chosen.value;
    const of =
      chosen?.connection === queue.connection && chosen.queue === queue.queue
        ? { id: chosen.id }
        : { time: from + span };
    const item = lane.neighbour(of, by) ?? ('time' in of ? lane.neighbour(of, -1) : undefined);
    if (item === undefined) return;
    this.look(item);
    const end = item.interrupt ?? item.used ?? item.time;
    const inside = item.time >= from && end <= from + span;
    this.show(inside ? { from, span } : { from: (item.time + end) / 2 - span / 2, span });
  }

  /** Asks for something; what goes wrong is said. */
  do(what: Command): void {
    this.tried(ask.command(what));
  }

  holdQueue(): void {
    const of = this.queue.value;
    this.look(undefined);
    if (of !== undefined) this.do({ command: 'hold', connection: of.connection, queue: of.queue });
  }

  holdDevice(): void {
    const of = this.connection.value;
    if (of !== undefined) this.do({ command: 'hold', connection: of.connection });
  }

  stepQueue(): void {
    const of = this.hold.value;
    this.look(undefined);
    if (of !== undefined) this.do({ command: 'step', connection: of.connection, queue: of.queue });
  }

  release(): void {
    const of = this.hold.value;
    if (of !== undefined) this.do({ command: 'release', connection: of.connection, queue: of.queue });
  }

  releaseAll(): void {
    this.do({ command: 'release' });
  }

  /** Opens a recording in this page. */
  openRecording(file: File): void {
    this.notice.value = '';
    this.tried(ask.recording(file).then((source) => this.openSource(source)));
  }

  openSource(source: string): void {
    batch(() => {
      this.look(undefined);
      this.#connection.value = undefined;
      this.#queue.value = undefined;
    });
    this.feed.open(source);
  }

  tried(promise: Promise<unknown>): void {
    promise.then(
      () => {
        this.notice.value = '';
      },
      (error: unknown) => {
        this.notice.value = error instanceof Error ? error.message : String(error);
      },
    );
  }

  /** The server's time, ns. */
  get now(): number {
    return this.model.time(pageNow());
  }

  get source(): string {
    return this.model.hello.peek()?.source ?? 'live';
  }

  /** Tells the server which rings are drawn. */
  #view(): void {
    const client = this.model.hello.value?.client;
    const connection = this.connection.value?.connection;
    const queue = this.queue.value?.queue;
    if (client === undefined || connection === undefined || queue === undefined) return;
    const rings = [{ connection, queue }];
    const asked = JSON.stringify([client, rings]);
    if (asked === this.#asked) return;
    this.#asked = asked;
    this.do({ command: 'view', client, rings });
  }

  #beginWindow(): void {
    if (this.model.recording) this.showAll();
    else this.follows.value = true;
  }

  /** What lies in the window and was not told of, or is not kept, is asked for when the window stands still. */
  #backfill(): void {
    const { from, span } = this.window.value;
    const connection = this.connection.value?.connection;
    clearTimeout(this.#fill);
    if (connection === undefined || this.follows.value || this.model.hello.value === undefined) return;
    this.#fill = setTimeout(() => {
      const of = { source: this.source, connection, from, to: from + span, limit: LIMIT };
      ask.timeline(of).then(
        ({ items, kept }) => {
          for (const { connection, queue, from } of kept) this.model.lane(connection, queue).keptFrom(from);
          this.model.add(items);
        },
        () => {},
      );
    }, 120);
  }
}

/** Where parts of the page find it. */
export const SessionContext: Context<Session | undefined> = createContext<Session | undefined>(undefined);

/** The session that this part of the page belongs to. */
export function useSession(): Session {
  const session = useContext(SessionContext);
  if (session === undefined) throw new Error('there is no session around this');
  return session;
}
