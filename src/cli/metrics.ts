import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Counter, Gauge, Registry } from 'prom-client';
import type { Connection } from '../connections.js';
import type { ReloadResult } from '../keeper/frames.js';
import type { DeviceQueue, VirtioDevice } from '../virtio/device.js';
import type { Monitor } from '../virtio/monitor.js';
import { UsageError } from './usage-error.js';

/** What is counted of one queue of one kind of device, over all connections. */
interface QueueCounts {
  chains: number;
  read: number;
  written: number;
  kicks: number;
  interrupts: number;
  broken: number;
}

const HELP: Readonly<Record<keyof QueueCounts, readonly [name: string, help: string]>> = {
  chains: ['virtio_misc_chains_total', 'Chains that the device handed back.'],
  read: ['virtio_misc_read_bytes_total', 'Bytes that the device read from chains.'],
  written: ['virtio_misc_written_bytes_total', 'Bytes that the device wrote into chains.'],
  kicks: ['virtio_misc_kicks_total', 'Kicks by the driver, and what counts as one.'],
  interrupts: ['virtio_misc_interrupts_total', 'Interrupts of the driver; queue="" for the configuration.'],
  broken: [
    'virtio_misc_broken_total',
    'Queues that a driver or a device broke; queue="" for the whole device.',
  ],
};

/** What one process counted, as it tells another. */
export interface Counted {
  readonly queues: readonly {
    readonly device: string;
    readonly queue: string;
    readonly counts: QueueCounts;
  }[];
  readonly warnings: readonly {
    readonly device: string;
    readonly transport: string;
    readonly count: number;
  }[];
}

/** Counts what goes on, for Prometheus. The counters are plain numbers until somebody asks for them. */
export class Metrics {
  readonly #registry = new Registry();
  readonly #queues = new Map<string, { device: string; queue: string; counts: QueueCounts }>();
  /** The labels of those that are connected. */
  readonly #connected = new Map<string, { device: string; transport: string }>();
  readonly #connections: Gauge;
  readonly #connectionsTotal: Counter;
  readonly #reloads: Counter;
  readonly #warnings = new Map<string, { device: string; transport: string; count: number }>();
  /** What other processes counted. */
  readonly #others = new Map<unknown, Counted>();

  constructor() {
    const registers = [this.#registry];
    const labelNames = ['device', 'transport'];
    this.#connections = new Gauge({
      name: 'virtio_misc_connections',
      help: 'Front-ends that are connected.',
      labelNames,
      registers,
    });
    this.#connectionsTotal = new Counter({
      name: 'virtio_misc_connections_total',
      help: 'Front-ends that came.',
      labelNames,
      registers,
    });
    this.#reloads = new Counter({
      name: 'virtio_misc_reloads_total',
      help: 'Saves of a device file: reloaded, refused (the guest would notice) or failed.',
      labelNames: ['result'],
      registers,
    });
    const all = (): Counted[] => [this.counted, ...this.#others.values()];
    new Counter({
      name: 'virtio_misc_warnings_total',
      help: 'What there was to warn of, also where the log only has the count.',
      labelNames,
      registers,
      collect() {
        this.reset();
        for (const { warnings } of all())
          for (const { device, transport, count } of warnings) this.inc({ device, transport }, count);
      },
    });
    for (const [key, [name, help]] of Object.entries(HELP)) {
      new Counter({
        name,
        help,
        labelNames: ['device', 'queue'],
        registers,
        collect() {
          this.reset();
          for (const { queues } of all()) {
            for (const { device, queue, counts } of queues) {
              const value = counts[key as keyof QueueCounts];
              // Most of it makes no sense for a whole device.
              if (queue !== '' || value > 0) this.inc({ device, queue }, value);
            }
          }
        },
      });
    }
  }

  /** What this process counted. */
  get counted(): Counted {
    return { queues: [...this.#queues.values()], warnings: [...this.#warnings.values()] };
  }

  /** What another process counted, in all. */
  take(source: unknown, counted: Counted): void {
    this.#others.set(source, counted);
  }

  /** Another process ended: what it counted stays. */
  ended(source: unknown): void {
    const { queues = [], warnings = [] } = this.#others.get(source) ?? {};
    this.#others.delete(source);
    for (const { device, queue, counts } of queues) {
      const sum = this.#counts(device, queue);
      for (const key of Object.keys(sum) as (keyof QueueCounts)[]) sum[key] += counts[key];
    }
    for (const { device, transport, count } of warnings) this.#warned(device, transport).count += count;
  }

  /** A front-end came, or is served by another process. */
  came(device: string, connection: Connection): void {
    const { transport } = connection;
    if (this.#connected.has(keyOf(connection))) return;
    const labels = { device, transport };
    this.#connected.set(keyOf(connection), labels);
    this.#connections.inc(labels);
    this.#connectionsTotal.inc(labels);
  }

  /** The front-end of a `monitor` left. */
  gone(connection: Numbered): void {
    const labels = this.#connected.get(keyOf(connection));
    if (labels === undefined) return;
    this.#connections.dec(labels);
    this.#connected.delete(keyOf(connection));
  }

  reloaded(result: ReloadResult): void {
    this.#reloads.inc({ result });
  }

  /** Counts what a device does for a front-end that came. */
  monitor({ name, queues }: VirtioDevice, connection: Connection): Monitor {
    this.came(name, connection);
    const warnings = this.#warned(name, connection.transport);
    const counts = queues.map((queue) => this.#counts(name, queue.name));
    const whole = this.#counts(name, '');
    const of = (queue: number | undefined): QueueCounts => (queue === undefined ? whole : counts[queue]!);
    return {
      queue: (queue) => counted(queue, counts[queue.index]!),
      kicked(queue) {
        of(queue).kicks += 1;
      },
      interrupted(queue) {
        of(queue).interrupts += 1;
      },
      broke(queue) {
        of(queue).broken += 1;
      },
      warned: () => {
        warnings.count += 1;
      },
    };
  }

  /** In Prometheus's text format. */
  text(): Promise<string> {
    return this.#registry.metrics();
  }

  #asked: () => Promise<void> = async () => {};

  /**
   * Answers `GET /metrics` on this machine's own address.
   *
   * @param port - 0 for one that is free.
   * @param asked - is waited for before each answer: others may tell what they counted.
   * @returns ends it, and the port.
   * @throws UsageError when the port can't be had.
   */
  async listen(
    port: number,
    asked: () => Promise<void> = this.#asked,
  ): Promise<{ port: number; close(): void }> {
    this.#asked = asked;
    const server: Server = createServer((request, response) => {
      const known = request.url === '/metrics' && request.method === 'GET';
      if (!known) {
        response.writeHead(404).end('only GET /metrics is here\n');
        return;
      }
      void this.#asked()
        .then(() => this.text())
        .then((text) => response.writeHead(200, { 'content-type': this.#registry.contentType }).end(text));
    });
    await new Promise<void>((resolve, reject) => {
      server.once('listening', resolve).once('error', (error: NodeJS.ErrnoException) => {
        const why =
          error.code === 'EADDRINUSE'
            ? 'another program has it'
            : error.code === 'EACCES'
              ? 'it takes more rights'
              : error.message;
        reject(new UsageError(`--metrics: port ${port} can't be had, ${why}: take another, or 0 for any`));
      });
      server.listen(port, '127.0.0.1');
    });
    return {
      port: (server.address() as AddressInfo).port,
      close() {
        server.close();
        server.closeAllConnections();
      },
    };
  }

  #warned(device: string, transport: string): { count: number } {
    const key = JSON.stringify([device, transport]);
    const known = this.#warnings.get(key) ?? { device, transport, count: 0 };
    this.#warnings.set(key, known);
    return known;
  }

  #counts(device: string, queue: string): QueueCounts {
    const key = JSON.stringify([device, queue]);
    const known = this.#queues.get(key);
    if (known !== undefined) return known.counts;
    const counts = { chains: 0, read: 0, written: 0, kicks: 0, interrupts: 0, broken: 0 };
    this.#queues.set(key, { device, queue, counts });
    return counts;
  }
}

/** A connection; several devices have numbers each. */
export type Numbered = Pick<Connection, 'connection' | 'socket'>;

function keyOf({ connection, socket }: Numbered): string {
  return `${connection} ${socket}`;
}

function counted(queue: DeviceQueue, counts: QueueCounts): DeviceQueue {
  return {
    index: queue.index,
    name: queue.name,
    get ready() {
      return queue.ready;
    },
    pop: () => queue.pop(),
    push(chain) {
      counts.chains += 1;
      counts.read += chain.consumed;
      counts.written += chain.written;
      queue.push(chain);
    },
    adopt: (chain) => queue.adopt(chain),
    serialOf: (chain) => queue.serialOf(chain),
    isOut: (head, serial) => queue.isOut(head, serial),
    fail: (error) => queue.fail(error),
    flush: () => queue.flush(),
  };
}
