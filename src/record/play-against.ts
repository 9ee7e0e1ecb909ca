import type { FeaturesEvent, InspectEvent, TakenEvent, UsedEvent } from '../observe/event.js';
import { describeBytes } from '../virtio/describe-bytes.js';
import { type Driver, openDriver } from '../virtio/driver.js';
import type { DriverTransport } from '../virtio/driver-transport.js';
import { featureBits, isDeviceFeature } from '../virtio/features.js';
import { chainsOf, type RecordedConnection, ReplayError, sentChain } from './connection-events.js';
import { bytesDiffer, type Difference, sameBytes } from './difference.js';

/** What playing against a back end needs of the process. */
export interface AgainstPorts {
  /** Reaches the device anew. */
  connect(): Promise<DriverTransport>;
  /** ms, of a clock that never goes back. */
  now(): number;
  /** Waits so many ms. */
  wait(ms: number): Promise<void>;
}

/** How much longer than in the recording an answer may take, ms. */
const LONGER = 5000;

/** Plays the driver of a recorded connection, at its pace, to a device that is somewhere else. */
export class PlayAgainst {
  readonly #recorded: RecordedConnection;
  readonly #ports: AgainstPorts;
  readonly #chains: ReadonlyMap<InspectEvent, readonly TakenEvent[]>;
  readonly #started = new Map<number, { chains: readonly TakenEvent[]; size: number; sent: number }>();
  /** By queue and chain: what the device answered. */
  readonly #answers = new Map<string, Promise<Uint8Array>>();
  #features: FeaturesEvent | undefined;
  #driver: Driver | undefined;
  /** When the first event would have been, ms. */
  #began = 0;
  #count = 0;

  constructor(recorded: RecordedConnection, ports: AgainstPorts) {
    this.#recorded = recorded;
    this.#ports = ports;
    this.#chains = chainsOf(recorded.events);
  }

  /** Answers that were compared. */
  get count(): number {
    return this.#count;
  }

  /** @returns where the device first answered otherwise. @throws ReplayError, or what the transport throws. */
  async run(): Promise<Difference | undefined> {
    try {
      for (const event of this.#recorded.events) {
        const difference = await this.#play(event);
        if (difference !== undefined) return difference;
      }
      return undefined;
    } finally {
      await this.#driver?.close().catch(() => {});
    }
  }

  async #play(event: InspectEvent): Promise<Difference | undefined> {
    switch (event.type) {
      case 'features':
        this.#features = event;
        return undefined;
      case 'queue-started':
        this.#started.set(event.queue, { chains: this.#chains.get(event)!, size: event.size, sent: 0 });
        return undefined;
      case 'running':
        return this.#open(event);
      case 'reset':
        await this.#driver?.close();
        this.#driver = undefined;
        this.#started.clear();
        this.#answers.clear();
        return undefined;
      case 'config-read': {
        if (this.#driver === undefined) return undefined;
        const { offset, bytes } = event;
        const now = await this.#driver.readConfig(offset, bytes.length);
        if (sameBytes(bytes, now)) return undefined;
        const text = `the configuration space reads otherwise at ${offset}`;
        return bytesDiffer(event, text, whole(bytes), whole(now), undefined);
      }
      case 'config-written':
        await this.#pace(event);
        await this.#driver?.writeConfig(event.offset, event.bytes);
        return undefined;
      case 'available':
        await this.#pace(event);
        this.#send(event.queue, (this.#started.get(event.queue)?.sent ?? 0) + event.count);
        return undefined;
      case 'taken':
        if (event.chain > (this.#started.get(event.queue)?.sent ?? 0)) await this.#pace(event);
        this.#send(event.queue, event.chain);
        return undefined;
      case 'used':
        return this.#used(event);
      case 'dropped':
        throw new ReplayError(
          `${event.count} events are missing in the recording: it can be played no further`,
        );
      default:
        return undefined;
    }
  }

  async #open(event: InspectEvent): Promise<Difference | undefined> {
    if (this.#driver !== undefined) return undefined;
    this.#began = this.#ports.now() - event.time / 1e6;
    const accepted = this.#features?.accepted ?? 0n;
    let own = 0n;
    for (const bit of featureBits(accepted)) if (isDeviceFeature(bit)) own |= 1n << BigInt(bit);
    const numbers = [...this.#started.keys()];
    const sizes = [...this.#started.values()].map(({ size }) => size);
    this.#driver = await openDriver(await this.#ports.connect(), {
      id: this.#recorded.connected.device.id,
      features: own,
      queues: Math.max(0, ...numbers.map((queue) => queue + 1)),
      queueSize: Math.max(1, ...sizes),
      ringFeatures: accepted & ~own,
    });
    const missing = featureBits(own & ~this.#driver.features);
    if (missing.length === 0) return undefined;
    return { event, text: `feature ${missing.join(', ')} is not offered`, detail: [] };
  }

  /** Waits until it is as late as it was. */
  async #pace(event: InspectEvent): Promise<void> {
    const early = this.#began + event.time / 1e6 - this.#ports.now();
    if (this.#driver !== undefined && early > 0) await this.#ports.wait(early);
  }

  /** Sends the chains up to this one. */
  #send(queue: number, upTo: number): void {
    const started = this.#started.get(queue);
    const driver = this.#driver?.queues[queue];
    if (started === undefined || driver === undefined) return;
    for (; started.sent < Math.min(upTo, started.chains.length); started.sent++) {
      const taken = started.chains[started.sent]!;
      const { pieces, room } = sentChain(taken);
      const bytes = new Uint8Array(taken.readable);
      let at = 0;
      for (const piece of pieces) {
        bytes.set(piece, at);
        at += piece.length;
      }
      const space = room.reduce((sum, size) => sum + size, 0);
      const answer =
        bytes.length > 0
          ? driver.request(bytes, space)
          : new Promise<Uint8Array>((resolve) => driver.post(space, resolve));
      // Who waits for it hears of it.
      answer.catch(() => {});
      this.#answers.set(`${queue} ${taken.chain}`, answer);
    }
  }

  async #used(event: UsedEvent): Promise<Difference | undefined> {
    const { queue, name, chain } = event;
    const key = `${queue} ${chain}`;
    const answer = this.#answers.get(key);
    const taken = this.#started.get(queue)?.chains[chain - 1];
    if (answer === undefined || taken === undefined) return undefined;
    this.#answers.delete(key);
    const { request, response } = this.#recorded.connected.device.queues[queue]?.shape ?? {};
    const before =
      taken.readable === 0
        ? []
        : [`request   ${taken.readable} B: ${describeBytes(taken.bytes, taken.readable, request)}`];
    const late = this.#ports.wait((event.time - event.taken) / 1e6 + LONGER).then(() => undefined);
    const now = await Promise.race([answer, late]);
    if (now === undefined) return { event, text: `${name}: chain ${chain} is not answered`, detail: before };
    this.#count += 1;
    if (now.length === event.written && sameBytes(event.bytes, now.subarray(0, event.bytes.length)))
      return undefined;
    const recorded = { bytes: event.bytes, total: event.written };
    const text = `${name}: chain ${chain} is answered otherwise`;
    return bytesDiffer(event, text, recorded, whole(now), response, before);
  }
}

function whole(bytes: Uint8Array): { bytes: Uint8Array; total: number } {
  return { bytes, total: bytes.length };
}
