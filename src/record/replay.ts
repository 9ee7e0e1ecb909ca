import type {
  ConfigChangedEvent,
  ConfigEvent,
  FeaturesEvent,
  InspectEvent,
  QueueStartedEvent,
  TakenEvent,
  UsedEvent,
} from '../observe/event.js';
import { Observer } from '../observe/observer.js';
import { describeBytes } from '../virtio/describe-bytes.js';
import type { VirtioDevice } from '../virtio/device.js';
import { DeviceRunner } from '../virtio/device-runner.js';
import { FeatureError } from '../virtio/feature-error.js';
import { featureBits, isDeviceFeature } from '../virtio/features.js';
import { LocalSharedMemory } from '../virtio/local-shared-memory.js';
import { RingKind } from '../virtio/ring-kind.js';
import { PoliteDriver } from '../virtqueue/testing/polite-driver.js';
import { chainsOf, type RecordedConnection, ReplayError, sentChain } from './connection-events.js';
import { bytesDiffer, type Difference, sameBytes } from './difference.js';
import { ReplayClock } from './replay-clock.js';

/** What a replay needs of the process. */
export interface ReplayPorts {
  /** Lets what the device waits for in earnest (a file, a promise) go on for a moment. */
  turn(): Promise<void>;
  /** ms, of a clock that never goes back. */
  now(): number;
}

/** How long a device may take for an answer that it got from elsewhere, such as a file: ms, since something happened last. */
const PATIENCE = 5000;
/** Bytes that each queue's memory has beside its chains, and what a descriptor costs in it. */
const SLACK = 1 << 20;
const ALIGNED = 64;

/** A queue while its ring is there. */
interface Session {
  readonly driver: PoliteDriver;
  readonly chains: readonly TakenEvent[];
  /** How many of them were made available. */
  fed: number;
  /** How many the device took. */
  taken: number;
  /** What it answered, by the chain's number, until it was compared. */
  readonly used: Map<number, UsedEvent>;
}

/** Plays the driver of one recorded connection to a device, on a clock that stands where the recording is. */
export class Replay {
  readonly #recorded: RecordedConnection;
  readonly #device: VirtioDevice;
  readonly #ports: ReplayPorts;
  readonly #clock = new ReplayClock();
  readonly #runner: DeviceRunner;
  readonly #chains: ReadonlyMap<InspectEvent, readonly TakenEvent[]>;
  readonly #deferred: (() => void)[] = [];
  readonly #sessions = new Map<number, Session>();
  /** What the device changed in its configuration space, and how much of that was compared. */
  readonly #changes: Uint8Array[] = [];
  #compared = 0;
  /** What broke in the replay and not in the recording (yet). */
  readonly #broken: { queue: number | undefined; error: string }[] = [];
  /** Grows with all that the device does. */
  #acts = 0;
  #count = 0;

  /** @throws ReplayError for a device of another id, or one with a queue less. */
  constructor(recorded: RecordedConnection, device: VirtioDevice, ports: ReplayPorts) {
    this.#recorded = recorded;
    this.#device = device;
    this.#ports = ports;
    const was = recorded.connected.device;
    if (device.id !== was.id)
      throw new ReplayError(
        `the recording is of ${was.name} (id ${was.id}), and this is ${device.name} (id ${device.id})`,
      );
    if (device.queues.length < was.queues.length)
      throw new ReplayError(
        `the recorded device has ${was.queues.length} queues, and this one ${device.queues.length}`,
      );
    this.#chains = chainsOf(recorded.events);
    let ring = 0n;
    for (const event of recorded.events) if (event.type === 'features') ring |= ringBits(event);
    const hear = (event: InspectEvent): void => this.#hear(event);
    const listener = { hear, bytes: Number.MAX_SAFE_INTEGER };
    const where = { connection: recorded.number, socket: '', transport: 'replay' };
    this.#runner = new DeviceRunner(device, {
      sharedMemory: new LocalSharedMemory(device.sharedMemory ?? []).regions,
      clock: this.#clock,
      interrupt: () => {},
      configInterrupt: () => {},
      broken: () => {},
      defer: (callback) => void this.#deferred.push(callback),
      print: undefined,
      warn: () => {},
      monitor: new Observer(device, where, [listener], () => this.#clock.now()),
      ringFeatures: ring,
    });
  }

  /** Chains whose answers were compared. */
  get count(): number {
    return this.#count;
  }

  /**
   * Plays it, and lets the device go.
   *
   * @returns where the device first answered otherwise; `undefined` when it never did.
   * @throws ReplayError where the recording has not all that it takes.
   */
  async run(): Promise<Difference | undefined> {
    try {
      for (const event of this.#recorded.events) {
        this.#clock.moveTo(event.time);
        const difference = (await this.#play(event)) ?? this.#failure(event);
        if (difference !== undefined) return difference;
      }
      return undefined;
    } finally {
      this.#runner.close();
    }
  }

  async #play(event: InspectEvent): Promise<Difference | undefined> {
    const runner = this.#runner;
    switch (event.type) {
      case 'features':
        return this.#accept(event);
      case 'queue-started':
        this.#start(event);
        return undefined;
      case 'queue-stopped':
        runner.stopQueue(event.queue);
        this.#sessions.delete(event.queue);
        return undefined;
      case 'running':
        runner.activate();
        break;
      case 'paused':
        runner.pause();
        break;
      case 'reset':
        runner.reset();
        this.#sessions.clear();
        break;
      case 'rang':
        this.#clock.ring();
        break;
      case 'config-read':
        return this.#read(event);
      case 'config-written':
        runner.writeConfig(event.offset, event.bytes);
        break;
      case 'config-changed':
        return this.#changed(event);
      case 'available':
        this.#feed(event.queue, event.count);
        return undefined;
      case 'kicked':
        runner.kick(event.queue);
        break;
      case 'taken':
        this.#take(event);
        break;
      case 'used':
        return this.#used(event);
      case 'broken':
        return this.#broke(event);
      case 'dropped':
        throw new ReplayError(
          `${event.count} events are missing in the recording after ${seconds(event)}: it can be replayed no further`,
        );
      default:
        return undefined;
    }
    this.#settle();
    return undefined;
  }

  #accept(event: FeaturesEvent): Difference | undefined {
    try {
      this.#runner.accept(event.accepted);
      return undefined;
    } catch (error) {
      if (!(error instanceof FeatureError)) throw error;
      const missing = featureBits(event.accepted & ~this.#runner.offered).join(', ');
      return {
        event,
        text: `the driver accepts feature ${missing}, which is not offered any more`,
        detail: [],
      };
    }
  }

  #start(event: QueueStartedEvent): void {
    const { queue, size, packed, eventIdx, indirect, inOrder } = event;
    const chains = this.#chains.get(event)!;
    let bytes = SLACK + new RingKind(0n).areaSizes(16).descriptor;
    // At most a ring full of them is with the device at a time.
    let window = 0;
    let most = 0;
    chains.forEach((chain, index) => {
      window += costOf(chain);
      if (index >= size) window -= costOf(chains[index - size]!);
      most = Math.max(most, window);
    });
    bytes += most + 64 * size;
    const how = { size, packed, eventIdx, indirect, inOrder };
    const driver = new PoliteDriver({ ...how, bytes: Math.ceil(bytes / 4096) * 4096 });
    this.#sessions.set(queue, { driver, chains, fed: 0, taken: 0, used: new Map() });
    const kind = new RingKind(this.#runner.features);
    this.#runner.startQueue(queue, kind.deviceQueue(driver.device), driver.device);
  }

  /** The driver makes so many more chains available, as far as it is known what was in them. */
  #feed(queue: number, count: number): void {
    const session = this.#sessions.get(queue);
    if (session === undefined) return;
    while (session.driver.receive() !== undefined);
    const end = Math.min(session.chains.length, session.fed + count);
    for (; session.fed < end; session.fed++) {
      const { pieces, room } = sentChain(session.chains[session.fed]!);
      if (!session.driver.send(pieces, room)) break;
    }
    session.driver.publish();
  }

  #take({ queue, chain }: TakenEvent): void {
    const session = this.#sessions.get(queue);
    if (session === undefined) return;
    if (session.fed < chain) this.#feed(queue, chain - session.fed);
    if (session.taken < chain) this.#runner.kick(queue);
  }

  #read(event: ConfigEvent): Difference | undefined {
    const { offset, bytes } = event;
    const now = this.#runner.readConfig(offset, bytes.length);
    if (sameBytes(bytes, now)) return undefined;
    const text = `the configuration space reads otherwise at ${offset}`;
    return bytesDiffer(event, text, all(bytes), all(now), undefined);
  }

  async #changed(event: ConfigChangedEvent): Promise<Difference | undefined> {
    const index = this.#compared++;
    await this.#until(() => this.#changes.length > index);
    const now = this.#changes[index];
    if (now === undefined) return { event, text: 'the configuration space is not changed', detail: [] };
    if (sameBytes(event.bytes, now)) return undefined;
    const text = 'the configuration space is changed otherwise';
    return bytesDiffer(event, text, all(event.bytes), all(now), undefined);
  }

  async #used(event: UsedEvent): Promise<Difference | undefined> {
    const { queue, name, chain } = event;
    const session = this.#sessions.get(queue);
    if (session === undefined) return undefined;
    await this.#until(() => session.used.has(chain) || this.#broken.length > 0);
    const now = session.used.get(chain);
    if (now === undefined && this.#broken.length > 0) return undefined;
    const asked = session.chains[chain - 1];
    const shape = this.#recorded.connected.device.queues[queue]?.shape;
    const { request, response } = this.#device.queues[queue]?.shape ?? shape ?? {};
    const before =
      asked === undefined || asked.readable === 0
        ? []
        : [`request   ${asked.readable} B: ${describeBytes(asked.bytes, asked.readable, request)}`];
    const [recorded, replayed] = [event, now].map((one) => ({
      bytes: one?.bytes ?? new Uint8Array(),
      total: one?.written ?? 0,
    })) as [Bytes, Bytes];
    if (now === undefined) {
      const text = `${name}: chain ${chain} is not answered`;
      const was = `recorded  ${recorded.total} B: ${describeBytes(recorded.bytes, recorded.total, response)}`;
      return { event, text, detail: [...before, was] };
    }
    session.used.delete(chain);
    this.#count += 1;
    // Of a longer one, what was recorded.
    const same =
      recorded.total === replayed.total &&
      sameBytes(recorded.bytes, replayed.bytes.subarray(0, recorded.bytes.length));
    if (same) return undefined;
    const text = `${name}: chain ${chain} is answered otherwise`;
    return bytesDiffer(event, text, recorded, replayed, response, before);
  }

  /** In the recording something broke: a queue by its driver, who is polite here, or the device by itself. */
  async #broke(event: Extract<InspectEvent, { type: 'broken' }>): Promise<Difference | undefined> {
    const { queue, error } = event;
    if (queue !== undefined) {
      this.#runner.breakQueue(queue, new Error(error));
      this.#forget(queue);
      return undefined;
    }
    await this.#until(() => this.#broken.some((broken) => broken.queue === undefined));
    if (!this.#forget(undefined))
      return { event, text: `the device failed in the recording (${error}), and does not now`, detail: [] };
    return undefined;
  }

  #forget(queue: number | undefined): boolean {
    const index = this.#broken.findIndex((broken) => broken.queue === queue);
    if (index >= 0) this.#broken.splice(index, 1);
    return index >= 0;
  }

  /** What broke and did not in the recording, up to here. */
  #failure(event: InspectEvent): Difference | undefined {
    const [broken] = this.#broken;
    if (broken === undefined || this.#breaksNext(event, broken.queue)) return undefined;
    return { event, text: `the device fails, and did not in the recording: ${broken.error}`, detail: [] };
  }

  /** Whether the recording tells of the same a moment later: a failure is told after what led to it. */
  #breaksNext(event: InspectEvent, queue: number | undefined): boolean {
    const { events } = this.#recorded;
    for (let at = events.indexOf(event) + 1; at < events.length; at++) {
      const next = events[at]!;
      if (next.type === 'broken' && next.queue === queue) return true;
      if (next.type === 'kicked' || next.type === 'reset' || next.type === 'gone') return false;
    }
    return false;
  }

  #hear(event: InspectEvent): void {
    if (event.type === 'taken') {
      const session = this.#sessions.get(event.queue);
      if (session !== undefined) session.taken = event.chain;
    } else if (event.type === 'used') this.#sessions.get(event.queue)?.used.set(event.chain, event);
    else if (event.type === 'config-changed') this.#changes.push(event.bytes);
    else if (event.type === 'broken') this.#broken.push({ queue: event.queue, error: event.error });
    else return;
    this.#acts += 1;
  }

  /** Runs what the runner put off. */
  #settle(): void {
    for (let next = this.#deferred.shift(); next !== undefined; next = this.#deferred.shift()) next();
  }

  /** Waits for something that the device did in the recording by now: for its alarms first, then in earnest. */
  async #until(there: () => boolean): Promise<void> {
    this.#settle();
    let acts = this.#acts;
    let since = this.#ports.now();
    while (!there()) {
      if (this.#clock.ring()) {
        this.#settle();
        continue;
      }
      await this.#ports.turn();
      this.#settle();
      if (acts !== this.#acts) {
        acts = this.#acts;
        since = this.#ports.now();
      } else if (this.#ports.now() - since > PATIENCE) return;
    }
  }
}

interface Bytes {
  readonly bytes: Uint8Array;
  readonly total: number;
}

function all(bytes: Uint8Array): Bytes {
  return { bytes, total: bytes.length };
}

function costOf({ readable, writable, descriptors }: TakenEvent): number {
  return readable + writable + ALIGNED * (descriptors.length + 4);
}

/** The ring's features among those that were offered. */
function ringBits({ offered }: FeaturesEvent): bigint {
  let mask = 0n;
  for (const bit of featureBits(offered)) if (!isDeviceFeature(bit)) mask |= 1n << BigInt(bit);
  return mask;
}

/** `1.5 s`. */
export function seconds({ time }: InspectEvent): string {
  return `${(time / 1e9).toFixed(9)} s`;
}
