import type { QueueSpec } from '../virtio/device.js';
import type { Layout } from '../virtio/layout.js';

/** What is the same for all: when it was, and which connection's it is. */
interface Seen {
  /** ns, of a clock that never goes back and begins with the server: the one that its devices have. */
  readonly time: number;
  /** 1, 2, 3... within one server. */
  readonly connection: number;
}

/** Of one queue. */
interface OfQueue extends Seen {
  readonly queue: number;
  readonly name: string;
}

/** A device as it was made for a connection. */
export interface SeenDevice {
  readonly id: number;
  readonly name: string;
  /** The device-type feature bits that it offers. */
  readonly features: bigint;
  readonly queues: readonly QueueSpec[];
  /** The bytes of its configuration space. */
  readonly config: Uint8Array;
  /** What these consist of, and the features by name, where the device says so. No recording has that. */
  readonly configLayout?: Layout<unknown>;
  readonly featureNames?: Readonly<Record<string, number>>;
}

/** A part of a chain in guest memory: descriptors that hold no byte are left out. */
export interface SeenDescriptor {
  /** Guest-physical. Counted from 0 in chains of memory that is reached by messages. */
  readonly address: number;
  /** Bytes. */
  readonly length: number;
  readonly writable: boolean;
}

/** A front-end came; all that follows of this connection is this device's. */
export interface ConnectedEvent extends Seen {
  readonly type: 'connected';
  readonly socket: string;
  readonly transport: string;
  readonly device: SeenDevice;
}

/** It went; `error` says how it broke the protocol, if it did. */
export interface GoneEvent extends Seen {
  readonly type: 'gone';
  readonly error?: string;
}

/** The driver accepted these features, of all that are offered: the device's and the ring's. */
export interface FeaturesEvent extends Seen {
  readonly type: 'features';
  readonly offered: bigint;
  readonly accepted: bigint;
}

/** The driver wrote the device's status (VIRTIO 1.3 §2.1). Over vhost-user only front-ends that tell. */
export interface StatusEvent extends Seen {
  readonly type: 'status';
  readonly status: number;
}

/**
 * `running`: the device is active, or goes on. `paused`: all its rings stand still, and its time. `reset`: all that came from the driver is
 * forgotten. `rang`: an alarm of the device's clock rings.
 */
export interface LifeEvent extends Seen {
  readonly type: 'running' | 'paused' | 'reset' | 'rang';
}

/** A ring was put under a queue. */
export interface QueueStartedEvent extends OfQueue {
  readonly type: 'queue-started';
  /** Descriptors. */
  readonly size: number;
  /** Where it goes on, as vhost-user carries it: see VIRTIO 1.3 §2.7 and §2.8. */
  readonly base: number;
  readonly packed: boolean;
  readonly eventIdx: boolean;
  readonly indirect: boolean;
  readonly inOrder: boolean;
  /** Guest-physical addresses; 0 where nobody knows. */
  readonly descriptorArea: number;
  readonly driverArea: number;
  readonly deviceArea: number;
}

/** It was taken away. */
export interface QueueStoppedEvent extends OfQueue {
  readonly type: 'queue-stopped';
  readonly base: number;
}

/** The driver read or wrote these bytes of the configuration space; of a write, those that it may write were taken. */
export interface ConfigEvent extends Seen {
  readonly type: 'config-read' | 'config-written';
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** The device changed its configuration space: all of it. */
export interface ConfigChangedEvent extends Seen {
  readonly type: 'config-changed';
  readonly bytes: Uint8Array;
}

/** The driver made chains available: when they were seen, which is a little later than when it did. */
export interface AvailableEvent extends OfQueue {
  readonly type: 'available';
  /** How many more than were seen before. */
  readonly count: number;
  /** Whether a kick was asked for with the next one: without, the driver need not have sent it. */
  readonly asked: boolean;
}

/** The driver kicked this queue, or what counts as that. */
export interface KickedEvent extends OfQueue {
  readonly type: 'kicked';
}

/** The device took a chain. */
export interface TakenEvent extends OfQueue {
  readonly type: 'taken';
  /** 1, 2, 3... in the order in which they are taken, from when the queue was started. */
  readonly chain: number;
  /** Which it is of those in flight. */
  readonly head: number;
  readonly readable: number;
  readonly writable: number;
  readonly descriptors: readonly SeenDescriptor[];
  /** The first of the readable bytes: exactly those that the device reads. */
  readonly bytes: Uint8Array;
}

/** The device handed one back. */
export interface UsedEvent extends OfQueue {
  readonly type: 'used';
  readonly chain: number;
  readonly head: number;
  /** Bytes that the device read, and wrote. */
  readonly consumed: number;
  readonly written: number;
  /** The first of the bytes that it wrote. */
  readonly bytes: Uint8Array;
  /** When it was taken, ns. */
  readonly taken: number;
}

/** The driver was interrupted, or did not want to be. Without a queue it is for the configuration. */
export interface InterruptEvent extends Seen {
  readonly type: 'interrupted' | 'interrupt-suppressed';
  readonly queue?: number;
  readonly name?: string;
}

/** A queue broke, or the whole device. */
export interface BrokenEvent extends Seen {
  readonly type: 'broken';
  readonly queue?: number;
  readonly name?: string;
  /** The section of VIRTIO 1.3 whose rule the driver broke. */
  readonly rule?: string;
  readonly error: string;
}

/** `line`: the device printed it for its user. `warning`: about what a peer or the device did wrong. */
export interface LineEvent extends Seen {
  readonly type: 'line' | 'warning';
  readonly text: string;
}

/** Another device has the place of the one that was served. */
export interface ReplacedEvent extends Seen {
  readonly type: 'replaced';
  readonly device: SeenDevice;
}

/** So many events came before this one that nobody had room for. */
export interface DroppedEvent extends Seen {
  readonly type: 'dropped';
  readonly count: number;
}

/** What passes between a driver and a device, one thing at a time. Whoever hears of it changes nothing in it. */
export type InspectEvent =
  | ConnectedEvent
  | GoneEvent
  | FeaturesEvent
  | StatusEvent
  | LifeEvent
  | QueueStartedEvent
  | QueueStoppedEvent
  | ConfigEvent
  | ConfigChangedEvent
  | AvailableEvent
  | KickedEvent
  | TakenEvent
  | UsedEvent
  | InterruptEvent
  | BrokenEvent
  | LineEvent
  | ReplacedEvent
  | DroppedEvent;
