import type { BrokenEvent, InspectEvent, QueueStartedEvent, SeenDevice } from '../observe/event.js';
import type { RingCounts, Unseen } from '../observe/ring-watch.js';
import { ChainEntry } from './chain-entry.js';
import { PlainEntry } from './entries.js';
import { fieldNames } from './field-names.js';
import { Latencies } from './latencies.js';
import type { PlotPoint, QueueCounts, QueueState, TimelineItem } from './protocol.js';
import { type QueueShape, queueShape } from './queue-shape.js';
import type { Sink } from './sink.js';
import { Timeline } from './timeline.js';

/** Items of a queue that are kept, with bytes of chains and lines: 4 MiB. */
const ITEMS = 2000;
const BYTES = 4 << 20;
/** Points of its plots. */
const POINTS = 1200;
/** Chains in flight that are told of by name. */
const IN_FLIGHT = 4096;
/** Kicks and interrupts that are told of between two frames. */
const OTHERS = 256;
/** Chains that wait to be taken, whose times are kept. */
const AHEAD = 32_768;

type Counts = { -readonly [K in keyof QueueCounts]: number };
type OfRing = Extract<InspectEvent, { readonly queue?: number }>;

const none = (): Counts => ({
  taken: 0,
  used: 0,
  kicks: 0,
  interrupts: 0,
  suppressed: 0,
  unkicked: 0,
  unseen: 0,
});

/** How much is kept; a recording is kept whole. */
export interface Kept {
  readonly items: number;
  readonly bytes: number;
  readonly points: number;
  readonly others: number;
}

export const LIVE: Kept = { items: ITEMS, bytes: BYTES, points: POINTS, others: OTHERS };

/** One queue of a connection: what it is, and what happens on it. */
export class QueueModel {
  readonly connection: number;
  readonly queue: number;
  readonly name: string;
  readonly shape: QueueShape;
  readonly timeline: Timeline;
  readonly names: readonly string[];
  readonly points: PlotPoint[] = [];
  readonly #sink: Sink;
  readonly #kept: Kept;
  readonly #counts: Counts = none();
  /** The same at the last point. */
  #before: Counts = none();
  #beforeTime: number;
  /** Bytes of chains that were told of. */
  #read = 0;
  #written = 0;
  #told = 0;
  readonly #latencies = new Latencies();
  readonly #inFlight = new Map<number, ChainEntry>();
  /** Handed back, with no word of an interrupt yet. */
  #owed: ChainEntry[] = [];
  /** When chains were seen available that were not taken, oldest first; `undefined` where nobody knows. */
  #ahead: (number | undefined)[] = [];
  #aheadFrom = 0;
  #others = 0;
  #hidden = { from: 0, to: 0, chains: 0, others: 0 };
  #started: QueueStartedEvent | undefined;
  #broken: { rule?: string; error: string } | undefined;
  /** When the last chain was told of. */
  #lastTold = 0;
  /** Something of `state` changed since it was asked for. */
  dirty = true;

  /** @param since - when the connection came. */
  constructor(connection: number, queue: number, device: SeenDevice, since: number, sink: Sink, kept: Kept) {
    const spec = device.queues[queue]!;
    this.connection = connection;
    this.queue = queue;
    this.name = spec.name;
    this.shape = queueShape(device.id, spec);
    this.names = fieldNames(this.shape.request);
    this.timeline = new Timeline(kept.items, kept.bytes);
    this.#beforeTime = since;
    this.#sink = sink;
    this.#kept = kept;
  }

  get running(): boolean {
    return this.#started !== undefined;
  }

  get layout(): 'split' | 'packed' | undefined {
    return this.#started && (this.#started.packed ? 'packed' : 'split');
  }

  get inFlight(): number {
    return this.#counts.taken - this.#counts.used;
  }

  /** Chains that are known to wait. */
  get waiting(): number {
    return this.#ahead.length - this.#aheadFrom;
  }

  /** The item of a chain that the device has. */
  idOf(chain: number): number | undefined {
    return this.#inFlight.get(chain)?.id;
  }

  state(): QueueState {
    const { connection, queue, name, running, names } = this;
    const state = { connection, queue, name, running, counts: { ...this.#counts }, names };
    const broken = this.#broken === undefined ? {} : { broken: this.#broken };
    if (this.#started === undefined) return { ...state, ...broken };
    const { size, eventIdx, indirect, inOrder, descriptorArea, driverArea, deviceArea } = this.#started;
    return {
      ...state,
      ...broken,
      layout: this.layout!,
      size,
      eventIdx,
      indirect,
      inOrder,
      areas: { descriptor: descriptorArea, driver: driverArea, device: deviceArea },
    };
  }

  /** @param counted - whether the events themselves are to be counted: nobody else does. */
  hear(event: OfRing, counted: boolean): void {
    switch (event.type) {
      case 'queue-started':
        this.#begin(event);
        return;
      case 'queue-stopped':
        this.stop(event.time);
        return;
      case 'available':
        for (let i = 0; i < event.count && this.#ahead.length < AHEAD; i++) this.#ahead.push(event.time);
        return;
      case 'kicked':
        if (counted) this.#counts.kicks += 1;
        this.#other({ type: 'kick', ...this.#at(event.time) });
        return;
      case 'taken':
        if (counted) this.#counts.taken += 1;
        this.#taken(new ChainEntry(this.#sink.nextId(), event, this.#nextAvailable(), this.shape));
        return;
      case 'used': {
        if (counted) this.#counts.used += 1;
        this.#read += event.consumed;
        this.#written += event.written;
        this.#told += 1;
        const chain = this.#inFlight.get(event.chain);
        if (chain === undefined) return;
        this.#inFlight.delete(event.chain);
        this.timeline.grew(chain, chain.finish(event));
        this.#owed.push(chain);
        if (this.#owed.length > IN_FLIGHT) this.#settle(this.#owed.splice(0, 1), undefined, false);
        this.#sink.changed(chain);
        return;
      }
      case 'interrupted':
      case 'interrupt-suppressed': {
        const suppressed = event.type === 'interrupt-suppressed';
        if (counted) this.#counts[suppressed ? 'suppressed' : 'interrupts'] += 1;
        this.#settle(this.#owed.splice(0), event.time, suppressed);
        this.#other({ type: 'interrupt', ...this.#at(event.time), suppressed });
        return;
      }
      case 'broken':
        this.#breaks(event);
        return;
    }
  }

  /** What the ring that is under it counted, since that was told last. */
  count(more: RingCounts): void {
    for (const key of ['taken', 'used', 'kicks', 'interrupts', 'suppressed', 'unkicked'] as const)
      this.#counts[key] += more[key];
  }

  /** Chains passed that were not told of. */
  missed({ taken, waiting }: Unseen, time: number): void {
    this.#ahead = new Array<undefined>(Math.min(waiting, AHEAD)).fill(undefined);
    this.#aheadFrom = 0;
    if (taken === 0) return;
    this.#counts.unseen += taken;
    this.#hide(this.#lastTold, time, taken, 0);
  }

  /** Its ring was taken away, and what the device held of it. */
  stop(time: number): void {
    const held = this.#inFlight.size;
    if (held > 0)
      this.#add({
        type: 'event',
        ...this.#at(time),
        what: 'queue-stopped',
        text: `${held} ${held === 1 ? 'chain was' : 'chains were'} with the device`,
      });
    this.#started = undefined;
    this.#broken = undefined;
    this.#inFlight.clear();
    this.#ahead = [];
    this.#aheadFrom = 0;
    // What the device kept was taken away with the ring.
    this.#counts.used = this.#counts.taken;
    this.#settle(this.#owed.splice(0), undefined, false);
    this.dirty = true;
  }

  /** Between two frames: how much was left out is said. */
  flush(): void {
    this.#others = 0;
    const { from, to, chains, others } = this.#hidden;
    if (chains === 0 && others === 0) return;
    this.#hidden = { from: 0, to: 0, chains: 0, others: 0 };
    this.#add({ type: 'gap', ...this.#at(from), to, chains, others });
  }

  /** What happened since the last point; nothing for a queue that has no ring and had none. */
  point(time: number, waiting: number): PlotPoint | undefined {
    const before = this.#before;
    const since = this.#beforeTime;
    const counts = { ...this.#counts };
    this.#before = counts;
    this.#beforeTime = time;
    if (counts.taken !== before.taken || counts.kicks !== before.kicks || counts.used !== before.used)
      this.dirty = true;
    if (time <= since || (this.#started === undefined && counts.taken === before.taken)) return undefined;
    const used = counts.used - before.used;
    // Of those that were told of, times how many there were.
    const scale = this.#told === 0 ? 0 : Math.max(1, used / this.#told);
    const latency = this.#latencies.take();
    const point: PlotPoint = {
      connection: this.connection,
      queue: this.queue,
      time,
      span: time - since,
      used,
      taken: counts.taken - before.taken,
      kicks: counts.kicks - before.kicks,
      interrupts: counts.interrupts - before.interrupts,
      suppressed: counts.suppressed - before.suppressed,
      unkicked: counts.unkicked - before.unkicked,
      inFlight: this.inFlight,
      waiting,
      read: Math.round(this.#read * scale),
      written: Math.round(this.#written * scale),
      ...(latency !== undefined && { latency }),
    };
    this.#read = 0;
    this.#written = 0;
    this.#told = 0;
    this.points.push(point);
    if (this.points.length > this.#kept.points) this.points.shift();
    return point;
  }

  #begin(event: QueueStartedEvent): void {
    this.stop(event.time);
    this.#started = event;
    this.#lastTold = event.time;
  }

  #breaks({ time, rule, error }: BrokenEvent): void {
    this.#broken = { ...(rule !== undefined && { rule }), error };
    this.dirty = true;
    this.#add({ type: 'broken', ...this.#at(time), ...this.#broken });
  }

  #taken(chain: ChainEntry): void {
    this.#lastTold = chain.taken;
    if (this.#inFlight.size < IN_FLIGHT) this.#inFlight.set(chain.chain, chain);
    this.timeline.add(chain);
    this.#sink.changed(chain);
  }

  #nextAvailable(): number | undefined {
    const time = this.#ahead[this.#aheadFrom];
    if (this.#aheadFrom < this.#ahead.length) this.#aheadFrom += 1;
    if (this.#aheadFrom > 1024 && this.#aheadFrom * 2 > this.#ahead.length) {
      this.#ahead.splice(0, this.#aheadFrom);
      this.#aheadFrom = 0;
    }
    return time;
  }

  /** @param interrupt - when these were told of; nobody will know when it is `undefined`. */
  #settle(chains: readonly ChainEntry[], interrupt: number | undefined, suppressed: boolean): void {
    for (const chain of chains) {
      chain.interrupt = interrupt;
      chain.suppressed = suppressed;
      const { available, taken, used } = chain;
      this.#latencies.add({ available, taken, used: used!, interrupt });
      this.#sink.changed(chain);
    }
  }

  #other(item: TimelineItem): void {
    if (this.#others >= this.#kept.others) this.#hide(item.time, item.time, 0, 1);
    else {
      this.#others += 1;
      this.#add(item);
    }
  }

  #hide(from: number, to: number, chains: number, others: number): void {
    const hidden = this.#hidden;
    const first = hidden.chains === 0 && hidden.others === 0;
    this.#hidden = {
      from: first ? from : Math.min(hidden.from, from),
      to: Math.max(hidden.to, to),
      chains: hidden.chains + chains,
      others: hidden.others + others,
    };
  }

  #add(item: TimelineItem): void {
    const entry = new PlainEntry(item);
    this.timeline.add(entry);
    this.#sink.changed(entry);
  }

  #at(time: number): { id: number; time: number; connection: number; queue: number } {
    return { id: this.#sink.nextId(), time, connection: this.connection, queue: this.queue };
  }
}
