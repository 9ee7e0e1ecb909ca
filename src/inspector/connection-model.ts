import { printable } from '../lines/printable.js';
import type { ConnectedEvent, InspectEvent, SeenDevice } from '../observe/event.js';
import { hex } from '../record/event-json.js';
import { statusNames } from '../record/event-line.js';
import type { Shape } from '../record/shape.js';
import { featureBits } from '../virtio/features.js';
import { PlainEntry } from './entries.js';
import { cut, fieldViews } from './field-view.js';
import { featureName, knownConfig } from './known-devices.js';
import type { ConfigChange, ConnectionState, FeatureState, StatusStep, TimelineItem } from './protocol.js';
import { type Kept, QueueModel } from './queue-model.js';
import { shapeFrom } from './queue-shape.js';
import { readFields } from './read-fields.js';
import type { Sink } from './sink.js';
import { Timeline } from './timeline.js';

/** Steps and changes of the configuration space that are kept. */
const STEPS = 64;
const CHANGES = 16;
/** Characters of a line. */
const LINE = 65_536;
/** Bytes that a step shows of the configuration space. */
const SHOWN = 32;

/** One connection: its device, what its driver did to it, and its queues. */
export class ConnectionModel {
  readonly connection: number;
  readonly timeline: Timeline;
  readonly #sink: Sink;
  readonly #kept: Kept;
  readonly #connected: Pick<ConnectedEvent, 'socket' | 'transport' | 'time'>;
  #device: SeenDevice;
  #queues: QueueModel[];
  #gone: number | undefined;
  #error: string | undefined;
  #life: ConnectionState['life'] = 'waiting';
  #broken: string | undefined;
  #offered: bigint;
  #accepted = 0n;
  #negotiated = false;
  #status: number | undefined;
  readonly #steps: StatusStep[] = [];
  #config: Uint8Array;
  readonly #changes: ConfigChange[] = [];
  #reads = 0;
  #replaced = 0;
  #others = 0;
  #hidden = { from: 0, to: 0, others: 0 };
  /** Something of `state` changed since it was asked for. */
  dirty = true;

  constructor(connection: number, event: ConnectedEvent, sink: Sink, kept: Kept) {
    this.connection = connection;
    this.timeline = new Timeline(kept.items, kept.bytes);
    this.#sink = sink;
    this.#kept = kept;
    this.#connected = event;
    this.#device = event.device;
    this.#offered = event.device.features;
    this.#config = event.device.config.slice();
    this.#queues = this.#makeQueues();
    this.#step(event.time, 'connected', `${event.transport} at ${event.socket}`);
  }

  get queues(): readonly QueueModel[] {
    return this.#queues;
  }

  get gone(): boolean {
    return this.#gone !== undefined;
  }

  get since(): number {
    return this.#connected.time;
  }

  state(): ConnectionState {
    const { id, name } = this.#device;
    const { socket, transport, time } = this.#connected;
    const fields = this.#configFields();
    return {
      connection: this.connection,
      socket: printable(socket),
      transport,
      device: { id, name: printable(name) },
      since: time,
      ...(this.#gone !== undefined && { gone: this.#gone }),
      ...(this.#error !== undefined && { error: this.#error }),
      life: this.#life,
      ...(this.#broken !== undefined && { broken: this.#broken }),
      features: this.#features(),
      negotiated: this.#negotiated,
      ...(this.#status !== undefined && { status: this.#status }),
      steps: [...this.#steps],
      config: { bytes: hex(this.#config), fields, changes: [...this.#changes], reads: this.#reads },
      queues: this.#queues.map(({ queue, name }) => ({ queue, name })),
      replaced: this.#replaced,
    };
  }

  /** @param event - of this connection, with its number; @param counted - whether each is to be counted. */
  hear(event: InspectEvent, counted: boolean): void {
    if ('queue' in event && event.queue !== undefined) this.#hearQueue(event, event.queue, counted);
    else this.#hearDevice(event);
  }

  /** Lines that nobody heard of. */
  missedLines(lines: number, time: number): void {
    if (lines > 0) this.#hide(time, lines);
  }

  /** Between two frames. */
  flush(): void {
    this.#others = 0;
    for (const queue of this.#queues) queue.flush();
    const { from, to, others } = this.#hidden;
    if (others === 0) return;
    this.#hidden = { from: 0, to: 0, others: 0 };
    this.#put({ type: 'gap', ...this.#at(from), to, chains: 0, others });
  }

  /** Something that was done to it from a page. */
  tell(time: number, what: string, text: string, queue?: number): void {
    this.#put({ type: 'event', ...this.#at(time), ...(queue !== undefined && { queue }), what, text });
  }

  /** Its process is not there any more. @param what - `died` or `yielded`. */
  lost(time: number, what: string, text: string): void {
    this.#life = 'waiting';
    for (const queue of this.#queues) queue.stop(time);
    this.#step(time, what, text);
  }

  /** Another process has it from now on, with the same driver. */
  goesOn({ time, device }: ConnectedEvent): void {
    this.#device = device;
    this.#config = device.config.slice();
    this.#broken = undefined;
    for (const queue of this.#queues) queue.stop(time);
    this.#step(time, 'goes-on', 'another process serves it');
  }

  #hearQueue(event: InspectEvent, queue: number, counted: boolean): void {
    const model = this.#queues[queue];
    if (model === undefined) return;
    switch (event.type) {
      case 'queue-started': {
        const { size, packed, eventIdx, indirect, inOrder } = event;
        const how = Object.entries({ eventIdx, indirect, inOrder }).flatMap(([name, is]) => (is ? name : []));
        const text = [`${size} descriptors`, packed ? 'packed' : 'split', ...how].join(', ');
        this.#step(event.time, event.type, `${model.name}: ${text}`);
        break;
      }
      case 'queue-stopped':
        this.#step(event.time, event.type, model.name);
        break;
      case 'broken':
        this.#broken = printable(`${model.name}: ${event.error}`);
        this.#step(event.time, event.type, this.#broken);
        break;
    }
    model.hear(event as Parameters<QueueModel['hear']>[0], counted);
    if (event.type === 'queue-started' || event.type === 'queue-stopped' || event.type === 'broken')
      model.dirty = true;
  }

  #hearDevice(event: InspectEvent): void {
    const { time } = event;
    switch (event.type) {
      case 'gone':
        this.#gone = time;
        this.#error = event.error === undefined ? undefined : printable(event.error);
        this.#life = 'gone';
        for (const queue of this.#queues) queue.stop(time);
        this.#step(time, 'gone', this.#error ?? '');
        return;
      case 'features':
        this.#offered = event.offered;
        this.#accepted = event.accepted;
        this.#negotiated = true;
        this.#step(time, 'features', `accepted ${featureBits(event.accepted).join(' ') || 'none'}`);
        return;
      case 'status':
        this.#status = event.status;
        this.#step(time, 'status', statusNames(event.status));
        return;
      case 'running':
      case 'paused':
        this.#life = event.type;
        this.#step(time, event.type, '');
        return;
      case 'reset':
        this.#life = 'reset';
        this.#broken = undefined;
        this.#accepted = 0n;
        this.#negotiated = false;
        for (const queue of this.#queues) queue.stop(time);
        this.#step(time, 'reset', '');
        return;
      case 'rang':
        this.#other({ type: 'event', ...this.#at(time), what: 'alarm', text: '' });
        return;
      case 'config-read':
        this.#reads += 1;
        this.dirty = true;
        return;
      case 'config-written':
        this.#configure(time, 'driver', event.offset, event.bytes);
        return;
      case 'config-changed':
        this.#configure(time, 'device', 0, event.bytes);
        return;
      case 'interrupted':
      case 'interrupt-suppressed':
        this.#other({
          type: 'interrupt',
          ...this.#at(time),
          suppressed: event.type === 'interrupt-suppressed',
        });
        return;
      case 'broken':
        this.#broken = printable(event.error);
        this.#step(time, 'broken', this.#broken);
        this.#put({ type: 'broken', ...this.#at(time), error: this.#broken });
        return;
      case 'line':
      case 'warning':
        this.#other({ type: event.type, ...this.#at(time), text: cut(printable(event.text), LINE) });
        return;
      case 'replaced':
        this.#device = event.device;
        this.#replaced += 1;
        this.#offered |= event.device.features;
        this.#step(time, 'replaced', printable(event.device.name));
        return;
      case 'dropped':
        this.#hide(time, event.count);
        return;
    }
  }

  #makeQueues(): QueueModel[] {
    return this.#device.queues.map(
      (_, queue) => new QueueModel(this.connection, queue, this.#device, this.since, this.#sink, this.#kept),
    );
  }

  #features(): FeatureState[] {
    const { id, featureNames } = this.#device;
    return featureBits(this.#offered | this.#accepted).map((bit) => ({
      bit,
      name: printable(featureName(id, bit, featureNames)),
      offered: ((this.#offered >> BigInt(bit)) & 1n) === 1n,
      accepted: ((this.#accepted >> BigInt(bit)) & 1n) === 1n,
    }));
  }

  #configFields(): ConnectionState['config']['fields'] {
    const shape: Shape | undefined = shapeFrom(this.#device.configLayout) ?? knownConfig(this.#device.id);
    return shape === undefined || this.#config.length === 0
      ? []
      : fieldViews(readFields(shape, this.#config));
  }

  /** Keeps what changed of it. */
  #configure(time: number, by: 'driver' | 'device', offset: number, bytes: Uint8Array): void {
    const room = bytes.subarray(0, Math.max(0, this.#config.length - offset));
    let from = 0;
    while (from < room.length && room[from] === this.#config[offset + from]) from += 1;
    let to = room.length;
    while (to > from && room[to - 1] === this.#config[offset + to - 1]) to -= 1;
    const changed = room.slice(from, to);
    this.#config.set(changed, offset + from);
    this.dirty = true;
    if (changed.length > 0) {
      this.#changes.push({ time, by, offset: offset + from, bytes: hex(changed) });
      if (this.#changes.length > CHANGES) this.#changes.shift();
    }
    const shown = changed.length === 0 ? 'the same' : cut(hex(changed.subarray(0, SHOWN)), 2 * SHOWN);
    const text = `${by} at ${offset + from}: ${shown}`;
    this.#other({ type: 'event', ...this.#at(time), what: 'config', text });
  }

  #step(time: number, what: string, text: string): void {
    this.dirty = true;
    this.#steps.push({ time, what, text: cut(printable(text), 300) });
    if (this.#steps.length > STEPS) this.#steps.shift();
    this.#other({ type: 'event', ...this.#at(time), what, text: cut(printable(text), 300) });
  }

  #other(item: TimelineItem): void {
    if (this.#others >= this.#kept.others) this.#hide(item.time, 1);
    else {
      this.#others += 1;
      this.#put(item);
    }
  }

  #hide(time: number, others: number): void {
    const { from, others: before } = this.#hidden;
    this.#hidden = { from: before === 0 ? time : from, to: time, others: before + others };
  }

  #put(item: TimelineItem): void {
    const entry = new PlainEntry(item);
    this.timeline.add(entry);
    this.#sink.changed(entry);
  }

  #at(time: number): { id: number; time: number; connection: number } {
    return { id: this.#sink.nextId(), time, connection: this.connection };
  }
}
