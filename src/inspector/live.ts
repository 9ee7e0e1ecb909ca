import type { ConnectedEvent } from '../observe/event.js';
import type { Listener } from '../observe/observer.js';
import { CommandError } from './command-error.js';
import { LiveEar, type Over } from './live-ear.js';
import type { Ear } from './lookout/ear.js';
import type { Arms, Eyes, Look, QueueOrder } from './lookout/eyes.js';
import { Lookout } from './lookout/lookout.js';
import { Model } from './model.js';
import type { Breakpoint, BreakpointOn, Hold, RingSample, Source } from './protocol.js';
import { LIVE } from './queue-model.js';
import { ringSample } from './ring-sample.js';
import type { SourceView } from './source-view.js';
import { Stops } from './stops.js';

/** ns between two points of a plot. */
const SPAN = 250e6;

/** What is left of a connection whose process is not there any more. */
interface Carried {
  readonly holds: readonly Hold[];
  /** It let go of it by itself: its front-end left, or another process goes on. */
  readonly over: Over | undefined;
}

/** Devices while they are served, in this process or in others: what their lookouts see of them, and what is asked of these. */
export class Live implements SourceView {
  /** What it is called. */
  name: string;
  readonly model: Model = new Model(LIVE);
  readonly start = 0;
  readonly epoch: number;
  readonly #now: () => number;
  /** In this process, once something is served here. */
  #near: Lookout | undefined;
  readonly #ears = new Map<Eyes, LiveEar>();
  /** Who looks at a connection. */
  readonly #eyes = new Map<number, Eyes>();
  /** Connections whose process is not there any more, and the next one not yet. */
  readonly #carried = new Map<number, Carried>();
  /** Connections that are said to have gone, and whose process has not said how yet. */
  readonly #leaving = new Set<number>();
  readonly #stops = new Stops();
  #asleep = true;
  #watchful = false;
  #unseen = false;
  #busy = false;
  #pointAt = 0;

  /**
   * @param now - ns, from 0 on.
   * @param epoch - what 0 was, ms since 1970.
   */
  constructor(name: string, now: () => number, epoch: number) {
    this.name = name;
    this.epoch = epoch;
    this.#now = now;
  }

  get source(): Source {
    return { id: 'live', kind: 'live', name: this.name };
  }

  get now(): number {
    return this.#now();
  }

  /** Who hears of one server in this process. */
  listener(): Listener {
    this.#near ??= this.join((ear) => new Lookout(this.#now, ear));
    return this.#near.listener();
  }

  /**
   * Has another lookout see for this one.
   *
   * @param make - makes it, of who is to be told what it sees.
   * @param process - its number, where it may die, and another go on: that a connection is over is said by `left` then.
   */
  join<E extends Eyes>(make: (ear: Ear) => E, process?: number): E {
    const ear = new LiveEar(
      {
        model: this.model,
        stops: this.#stops,
        came: (event) => this.#came(eyes, event),
        left: (connection, error, time) => this.#goodbye(connection, error, time),
        heard: () => this.#watch(),
        missed: () => {
          this.#unseen = true;
        },
      },
      process,
    );
    const eyes = make(ear);
    this.#ears.set(eyes, ear);
    eyes.arm(this.#arms);
    return eyes;
  }

  /** The process of a lookout is not there any more. */
  ended(eyes: Eyes): void {
    const ear = this.#ears.get(eyes);
    if (ear === undefined) return;
    for (const [connection, its] of [...this.#eyes]) if (its === eyes) this.#lose(connection, ear);
    this.#ears.delete(eyes);
    this.#watch();
  }

  /** The front-end of a connection left, whatever became of its process. */
  left(connection: number): void {
    const eyes = this.#eyes.get(connection);
    const ear = eyes && this.#ears.get(eyes);
    const over = ear?.over.get(connection) ?? this.#carried.get(connection)?.over;
    if (ear !== undefined && over === undefined) this.#leaving.add(connection);
    else this.#goodbye(connection, over?.error, over?.time ?? this.now);
  }

  /**
   * Has all look, and takes counts.
   *
   * @param look - what somebody sees: some 20 times a second then.
   */
  tick(look: Look): void {
    this.#busy = this.#unseen;
    this.#unseen = false;
    for (const eyes of [...this.#ears.keys()]) eyes.look(look);
    const now = this.#now();
    if (now < this.#pointAt) return;
    this.#pointAt = Math.max(this.#pointAt + SPAN, now);
    for (const { connection, queues } of this.model.connections) {
      const ear = this.#earOf(connection);
      for (const queue of queues)
        this.model.point(queue, now, ear?.sight(connection, queue.queue)?.waiting ?? 0);
    }
  }

  /** More passes than is told of one by one: whoever looks less often misses nothing that he could see. */
  get busy(): boolean {
    return this.#busy;
  }

  ring(connection: number, queue: number): RingSample | undefined {
    const model = this.model.queue(connection, queue);
    const seen = this.#earOf(connection)?.sight(connection, queue)?.seen;
    if (model === undefined) return undefined;
    if (seen !== undefined) return ringSample(model, seen);
    const reason = this.#carried.has(connection) ? 'its process is not there' : 'it has no ring';
    return { connection, queue, time: this.now, layout: 'none', reason };
  }

  pulse(connection: number, queue: number): number {
    return this.#earOf(connection)?.sight(connection, queue)?.pulse ?? -1;
  }

  holds(): readonly Hold[] {
    const lost = [...this.#carried.values()].flatMap(({ holds }) =>
      holds.map(
        ({ next: _, ...hold }): Hold => ({
          ...hold,
          unseen: 'its process is not there: the next one holds it',
        }),
      ),
    );
    return [...[...this.#ears.values()].flatMap(({ held }) => held), ...lost];
  }

  breakpoints(): readonly Breakpoint[] {
    return this.#stops.views();
  }

  /** Nobody looks: nothing is held, and no breakpoint hits. */
  set asleep(asleep: boolean) {
    if (asleep === this.#asleep) return;
    this.#asleep = asleep;
    if (asleep)
      for (const [connection, { over }] of this.#carried) this.#carried.set(connection, { holds: [], over });
    this.#arm();
  }

  /** @throws CommandError, or rejects with one, for what can't be. */
  run(order: QueueOrder): void | Promise<void> {
    const eyes = this.#eyes.get(order.connection);
    if (eyes !== undefined) return eyes.run(order);
    const carried = this.#carried.get(order.connection);
    if (carried === undefined) return;
    if (order.command !== 'release')
      throw new CommandError('the process that served this is not there: try again when the next one is');
    const stays = ({ queue }: Hold): boolean => order.queue !== undefined && queue !== order.queue;
    this.#carried.set(order.connection, { ...carried, holds: carried.holds.filter(stays) });
  }

  /** @throws CommandError for what can't be meant. @returns its number. */
  break(connection: number | undefined, queue: string | undefined, on: BreakpointOn): number {
    const id = this.#stops.add(connection, queue, on);
    this.#arm();
    return id;
  }

  /** @throws CommandError when there is none of that number. */
  enable(id: number, enabled: boolean): void {
    this.#stops.enable(id, enabled);
    this.#arm();
  }

  unbreak(id: number): void {
    this.#stops.remove(id);
    this.#arm();
  }

  #came(eyes: Eyes, event: ConnectedEvent): void {
    const { connection } = event;
    // The one before may be heard to end later.
    const before = this.#earOf(connection);
    if (before !== undefined) this.#lose(connection, before);
    const carried = this.#carried.get(connection);
    const known = this.model.connection(connection);
    if (known === undefined || known.gone) this.model.hear(event, false);
    else {
      const { over } = carried ?? {};
      if (over !== undefined) known.lost(over.time, 'yielded', 'its process leaves it to another one');
      known.goesOn(event);
    }
    this.#eyes.set(connection, eyes);
    // Breakpoints of this connection, too.
    eyes.arm(this.#arms);
    const holds = carried?.holds ?? [];
    this.#carried.delete(connection);
    eyes.confirm?.(
      connection,
      holds.map(({ queue, since, by, reason, breakpoint }) => ({
        ...{ queue, since, by, reason },
        ...(breakpoint !== undefined && { breakpoint }),
      })),
    );
  }

  /** A connection has no process any more: another one goes on, if its front-end did not leave. */
  #lose(connection: number, ear: LiveEar): void {
    this.#eyes.delete(connection);
    const over = ear.over.get(connection);
    const holds = ear.held.filter((hold) => hold.connection === connection);
    ear.forget(connection);
    if (this.#leaving.has(connection)) {
      this.#goodbye(connection, over?.error, over?.time ?? this.now);
      return;
    }
    this.#carried.set(connection, { holds, over });
    if (over !== undefined) return;
    const text = `its process ${ear.process} died: another one goes on`;
    this.model.connection(connection)?.lost(this.now, 'died', text);
  }

  #goodbye(connection: number, error: string | undefined, time: number): void {
    this.#leaving.delete(connection);
    this.#carried.delete(connection);
    this.#eyes.delete(connection);
    for (const ear of this.#ears.values()) ear.forget(connection);
    this.model.hear({ type: 'gone', time, connection, ...(error !== undefined && { error }) }, false);
    this.#watch();
  }

  #earOf(connection: number): LiveEar | undefined {
    const eyes = this.#eyes.get(connection);
    return eyes && this.#ears.get(eyes);
  }

  get #arms(): Arms {
    return { asleep: this.#asleep, stops: this.#stops.specs(), watchful: this.#watchful };
  }

  #arm(): void {
    this.#watchful = this.#wants;
    for (const eyes of [...this.#ears.keys()]) eyes.arm(this.#arms);
  }

  /** Whether a process that goes on for another has to know of what is held. */
  get #wants(): boolean {
    return !this.#asleep && (this.holds().length > 0 || this.#stops.some);
  }

  #watch(): void {
    if (this.#wants !== this.#watchful) this.#arm();
  }
}
