import type { QueueSpec, VirtioDevice } from '../virtio/device.js';
import { VIRTIO_F_RING_PACKED } from '../virtio/features.js';
import type { Monitor } from '../virtio/monitor.js';
import type { DeviceQueueOptions } from '../virtqueue/device-queue-options.js';
import type { Virtqueue } from '../virtqueue/virtqueue.js';
import { VirtqueueError } from '../virtqueue/virtqueue-error.js';
import type { InspectEvent, SeenDescriptor, SeenDevice } from './event.js';
import type { DeviceWatch, RingWatch } from './ring-watch.js';
import { type ToldChain, WatchedRing } from './watched-ring.js';

/** Hears of everything, at once, from inside of what happens: it must neither wait nor throw, nor change anything. */
export type Hear = (event: InspectEvent) => void;

/** Who listens, and to how much. */
export interface Listener {
  readonly hear: Hear;
  /** Bytes of each chain that it wants, each way. */
  readonly bytes: number;
  /**
   * Given, it is told of chains, of kicks and interrupts, and of lines, only as far as it asks for them there (and others hear of them anyway): it then costs next to
   * nothing, however many there are. Called once for each connection, after its `connected`.
   */
  watch?(watch: DeviceWatch): void;
}

/** Whose events these are. */
export interface Observed {
  readonly connection: number;
  readonly socket: string;
  readonly transport: string;
}

/** Tells listeners what passes between a driver and the device of one connection. */
export class Observer implements Monitor, DeviceWatch {
  readonly #listeners: Set<Listener>;
  readonly #now: () => number;
  readonly connection: number;
  readonly #rings: (WatchedRing | undefined)[] = [];
  #queues: readonly QueueSpec[];
  #features = 0n;
  #bytes: number;
  /** Whether somebody hears of all there is. */
  #everything: boolean;
  /** Lines that are still told of, and those that were not. */
  #lines = 0;
  #unseenLines = 0;
  #gone = false;

  /** @param now - ns. */
  constructor(
    device: VirtioDevice,
    { connection, socket, transport }: Observed,
    listeners: Iterable<Listener>,
    now: () => number,
  ) {
    this.#listeners = new Set(listeners);
    this.#now = now;
    this.connection = connection;
    this.#queues = device.queues;
    this.#bytes = this.#most();
    this.#everything = this.#all();
    this.#tell({ type: 'connected', time: now(), connection, socket, transport, device: seen(device) });
    for (const listener of this.#listeners) listener.watch?.(this);
  }

  /** This one does not listen any more. */
  leave(listener: Listener): void {
    this.#listeners.delete(listener);
    this.#bytes = this.#most();
    this.#everything = this.#all();
    for (const ring of this.#rings) ring?.settle();
  }

  ringOf(queue: number): RingWatch | undefined {
    return this.#rings[queue];
  }

  showLines(lines: number): number {
    const unseen = this.#unseenLines;
    this.#lines = lines;
    this.#unseenLines = 0;
    return unseen;
  }

  /** The front-end went. */
  gone(error?: Error): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#tell({ type: 'gone', ...this.#here(), ...(error !== undefined && { error: error.message }) });
  }

  ring(queue: number, ring: Virtqueue, options: DeviceQueueOptions, wake: () => void): Virtqueue {
    const packed = (this.#features & VIRTIO_F_RING_PACKED) !== 0n;
    const { size, base, eventIdx, indirect, inOrder = false } = options;
    const { descriptorArea, driverArea, deviceArea } = options;
    const place = { descriptorArea, driverArea, deviceArea };
    const how = { packed, eventIdx, indirect, inOrder };
    const bytes = (): number => this.#bytes;
    const everything = (): boolean => this.#everything;
    const watched = new WatchedRing(ring, options, packed, {
      connection: this.connection,
      queue,
      now: this.#now,
      get bytes() {
        return bytes();
      },
      get everything() {
        return everything();
      },
      available: (count, asked) => this.#available(queue, count, asked),
      taken: (chain, bytes, descriptors) => this.#taken(queue, chain, bytes, descriptors),
      used: (chain) => this.#used(queue, chain),
      suppressed: () => this.#tell({ type: 'interrupt-suppressed', ...this.#at(queue) }),
      wake,
    });
    this.#rings[queue] = watched;
    this.#tell({ type: 'queue-started', ...this.#at(queue), size, base, ...how, ...place });
    return watched;
  }

  stopped(queue: number, base: number | undefined): void {
    if (this.#rings[queue] === undefined) return;
    // Who looks at it may still do so when it is told.
    this.#tell({ type: 'queue-stopped', ...this.#at(queue), base: base ?? 0 });
    this.#rings[queue] = undefined;
  }

  accepted(accepted: bigint, offered: bigint): void {
    this.#features = accepted;
    this.#tell({ type: 'features', ...this.#here(), accepted, offered });
  }

  status(status: number): void {
    this.#tell({ type: 'status', ...this.#here(), status });
  }

  lived(type: 'running' | 'paused' | 'reset' | 'rang'): void {
    this.#tell({ type, ...this.#here() });
    if (type === 'reset') this.#rings.length = 0;
  }

  configRead(offset: number, bytes: Uint8Array): void {
    this.#tell({ type: 'config-read', ...this.#here(), offset, bytes });
  }

  configWritten(offset: number, bytes: Uint8Array): void {
    this.#tell({ type: 'config-written', ...this.#here(), offset, bytes });
  }

  configChanged(bytes: Uint8Array): void {
    this.#tell({ type: 'config-changed', ...this.#here(), bytes });
  }

  kicked(queue: number): void {
    const ring = this.#rings[queue];
    if (ring?.kicked() === false) return;
    const { name } = this.#queues[queue]!;
    this.#tell({ type: 'kicked', time: this.#now(), connection: this.connection, queue, name });
    ring?.seek();
  }

  interrupted(queue: number | undefined): void {
    if (queue !== undefined && this.#rings[queue]?.interrupted() === false) return;
    this.#tell({ type: 'interrupted', ...(queue === undefined ? this.#here() : this.#at(queue)) });
  }

  broke(queue: number | undefined, error?: unknown): void {
    this.#tell({
      type: 'broken',
      ...(queue === undefined ? this.#here() : this.#at(queue)),
      ...(error instanceof VirtqueueError && { rule: error.section }),
      error: error instanceof Error ? error.message : String(error ?? 'it failed'),
    });
  }

  warned(text?: string): void {
    if (text !== undefined) this.#tell({ type: 'warning', ...this.#here(), text });
  }

  full(): boolean {
    if (this.#everything || this.#lines > 0) return false;
    this.#unseenLines += 1;
    return true;
  }

  printed(text: string): void {
    if (this.#lines > 0) this.#lines -= 1;
    this.#tell({ type: 'line', ...this.#here(), text });
  }

  replaced(device: VirtioDevice): void {
    this.#queues = device.queues;
    this.#tell({ type: 'replaced', ...this.#here(), device: seen(device) });
  }

  #available(queue: number, count: number, asked: boolean): void {
    const { name } = this.#queues[queue]!;
    this.#tell({
      type: 'available',
      time: this.#now(),
      connection: this.connection,
      queue,
      name,
      count,
      asked,
    });
  }

  #taken(queue: number, chain: ToldChain, bytes: Uint8Array, descriptors: readonly SeenDescriptor[]): void {
    this.#tell({
      type: 'taken',
      time: chain.taken,
      connection: this.connection,
      queue,
      name: this.#queues[queue]!.name,
      chain: chain.number,
      head: chain.head,
      readable: chain.readable,
      writable: chain.writable,
      descriptors,
      bytes,
    });
  }

  #used(queue: number, chain: ToldChain): void {
    this.#tell({
      type: 'used',
      time: this.#now(),
      connection: this.connection,
      queue,
      name: this.#queues[queue]!.name,
      chain: chain.number,
      head: chain.head,
      consumed: chain.consumed,
      written: chain.written,
      bytes: chain.answer,
      taken: chain.taken,
    });
  }

  #tell(event: InspectEvent): void {
    for (const { hear } of this.#listeners) {
      try {
        hear(event);
      } catch (error) {
        // Its own affair, as with setTimeout: it takes nothing from the device.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }

  #here(): { time: number; connection: number } {
    return { time: this.#now(), connection: this.connection };
  }

  #at(queue: number): { time: number; connection: number; queue: number; name: string } {
    return { time: this.#now(), connection: this.connection, queue, name: this.#queues[queue]!.name };
  }

  #all(): boolean {
    return [...this.#listeners].some(({ watch }) => watch === undefined);
  }

  #most(): number {
    return Math.max(0, ...[...this.#listeners].map(({ bytes }) => bytes));
  }
}

function seen(device: VirtioDevice): SeenDevice {
  const { id, name, features, queues, config, configLayout, featureNames } = device;
  return {
    id,
    name,
    features,
    queues,
    config: config.read(0, config.size),
    ...(configLayout !== undefined && { configLayout }),
    ...(featureNames !== undefined && { featureNames }),
  };
}
