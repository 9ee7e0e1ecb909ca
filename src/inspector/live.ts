import type { InspectEvent } from '../observe/event.js';
import type { Listener } from '../observe/observer.js';
import type { DeviceWatch, RingCounts, RingWatch } from '../observe/ring-watch.js';
import { BYTES } from './chain-entry.js';
import type { ConnectionModel } from './connection-model.js';
import { Debugger } from './debugger.js';
import { Model } from './model.js';
import type { Breakpoint, Hold, RingSample, Source } from './protocol.js';
import { LIVE, type QueueModel } from './queue-model.js';
import { sampleRing } from './ring-sample.js';
import type { SourceView } from './source-view.js';

/** Chains of a queue that are told of between two ticks: all, while they are no more than that; of more, a few. */
const ALL = 64;
const FEW = 12;
/** The same of all queues together. */
const TOGETHER = 256;
/** Lines of a device. */
const LINES = 32;
/** ns between two points of a plot. */
const SPAN = 250e6;

const ZERO: RingCounts = { taken: 0, used: 0, kicks: 0, interrupts: 0, suppressed: 0, unkicked: 0 };

/** A connection that is looked at. */
interface Watched {
  readonly model: ConnectionModel;
  readonly watch: DeviceWatch;
  /** By queue: the ring that was there last, and its counts. */
  readonly rings: Map<number, { readonly ring: RingWatch; counts: RingCounts }>;
}

/**
 * Devices while they are served, of one server or several. It hears of few chains in detail, however many there are, and looks at rings when somebody
 * wants to see them.
 */
export class Live implements SourceView {
  readonly source: Source;
  readonly model: Model = new Model(LIVE);
  readonly debugger: Debugger;
  readonly start = 0;
  readonly epoch: number;
  readonly #now: () => number;
  /** By number. */
  readonly #watched = new Map<number, Watched>();
  #connections = 0;
  #pointAt = 0;

  /**
   * @param now - ns, from 0 on.
   * @param epoch - what 0 was, ms since 1970.
   */
  constructor(name: string, now: () => number, epoch: number) {
    this.source = { id: 'live', kind: 'live', name };
    this.epoch = epoch;
    this.#now = now;
    this.debugger = new Debugger(now, (queue, what, text) => {
      this.model.connection(queue.connection)?.tell(now(), what, text, queue.queue);
    });
  }

  get now(): number {
    return this.#now();
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
        if (event.type === 'connected') numbers.set(event.connection, ++this.#connections);
        const connection = numbers.get(event.connection);
        if (connection === undefined) return;
        this.#hear({ ...event, time: event.time + offset, connection });
        if (event.type === 'gone') numbers.delete(event.connection);
      },
      watch: (watch) => {
        const connection = numbers.get(watch.connection)!;
        const model = this.model.connection(connection)!;
        this.#watched.set(connection, { model, watch, rings: new Map() });
        watch.showLines(LINES);
      },
    };
  }

  /**
   * Takes counts, and has a few more chains told of.
   *
   * @param looked - somebody sees them: some 20 times a second then.
   */
  tick(looked: boolean): void {
    const now = this.#now();
    let left = TOGETHER;
    for (const watched of this.#watched.values()) {
      const { model, watch } = watched;
      model.missedLines(watch.showLines(looked ? LINES : 0), now);
      for (const queue of model.queues) {
        const passed = this.#count(watched, queue);
        const ring = watched.rings.get(queue.queue)?.ring;
        if (ring === undefined) continue;
        if (!looked) continue;
        const chains = Math.min(passed > ALL ? FEW : ALL, Math.max(left, 4));
        left -= Math.min(chains, passed);
        const missed = ring.show(chains);
        if (missed !== undefined) queue.missed(missed, now);
      }
    }
    if (now < this.#pointAt) return;
    this.#pointAt = Math.max(this.#pointAt + SPAN, now);
    for (const { model, rings } of this.#watched.values())
      for (const queue of model.queues)
        this.model.point(queue, now, rings.get(queue.queue)?.ring.available ?? 0);
  }

  ring(connection: number, queue: number): RingSample | undefined {
    const watched = this.#watched.get(connection);
    const model = this.model.queue(connection, queue);
    return model && sampleRing(model, watched?.rings.get(queue)?.ring, connection, this.#now());
  }

  pulse(connection: number, queue: number): number {
    const ring = this.#watched.get(connection)?.rings.get(queue)?.ring;
    if (ring === undefined) return -1;
    const { taken, used, kicks, interrupts, suppressed } = ring.counts;
    // What the driver does by itself is seen in what is available.
    return taken + used + kicks + interrupts + suppressed + 0x1_0000_0000 * ring.available;
  }

  holds(): readonly Hold[] {
    return this.debugger.holds();
  }

  breakpoints(): readonly Breakpoint[] {
    return this.debugger.breakpoints();
  }

  #hear(event: InspectEvent): void {
    const { connection } = event;
    const watched = this.#watched.get(connection);
    if (watched !== undefined) this.#before(event, watched);
    this.model.hear(event, false);
    if (watched === undefined) return;
    if (event.type === 'queue-started') this.#started(watched, event.queue);
    else if (event.type === 'gone') this.#watched.delete(connection);
    else if (event.type === 'broken' && event.queue !== undefined) {
      const queue = watched.model.queues[event.queue];
      if (queue !== undefined) this.debugger.broke(queue);
    }
  }

  /** Takes what a ring counted before it goes. */
  #before(event: InspectEvent, watched: Watched): void {
    const over = event.type === 'reset' || event.type === 'gone';
    if (!over && event.type !== 'queue-stopped') return;
    for (const queue of watched.model.queues) {
      if (event.type === 'queue-stopped' && event.queue !== queue.queue) continue;
      this.#count(watched, queue);
      watched.rings.delete(queue.queue);
      if (over) this.debugger.forget(queue);
      else this.debugger.stopped(queue);
    }
  }

  #started(watched: Watched, index: number): void {
    const ring = watched.watch.ringOf(index);
    const queue = watched.model.queues[index];
    if (ring === undefined || queue === undefined) return;
    watched.rings.set(index, { ring, counts: { ...ZERO } });
    ring.show(ALL);
    this.debugger.started(queue, ring);
  }

  /** @returns chains that were taken since the last time. */
  #count({ rings }: Watched, queue: QueueModel): number {
    const known = rings.get(queue.queue);
    if (known === undefined) return 0;
    const counts = { ...known.ring.counts };
    queue.count(counts, known.counts);
    const passed = counts.taken - known.counts.taken;
    known.counts = counts;
    return passed;
  }
}
