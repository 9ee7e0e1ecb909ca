import type { ChainQueue, Running } from './chain-queue.js';
import type { Control } from './control.js';
import type { SharedMemorySpec } from './shared-memory.js';
import type { Fields, Struct, Values } from './struct.js';

/**
 * Queues of which the front-end, or its driver, takes as many as it likes: one for each CPU, as a rule. A queue that it did not set up
 * is not `ready`, and empty.
 */
export interface QueueGroup<C extends Fields, N extends string = string, A extends string = string> {
  /** How often the device has them: 1 to 1024. Over vhost-user, rings after the first 256 can't be reached. */
  readonly upTo: number;
  /** What it has each time, such as one for each direction. Their names are numbered from 1 on, as in `requestq1`. */
  readonly queues: readonly ChainQueue<C, N, A>[];
}

/** What `defineDevice` makes a device of. All but the id, the name and the queues may be left out. */
export interface DeviceDefinition<
  C extends Fields,
  N extends string = string,
  G extends string = string,
  A extends string = N | `${G}${number}`,
> {
  /** The virtio device id (VIRTIO 1.3 §5). */
  readonly id: number;
  /** For log lines, such as `virtio-rng`. */
  readonly name: string;
  /** Feature bits by name: 0-23 and 50-127 (§2.2). Over vhost-user, those above 63 are not offered: its messages have no room. */
  readonly features?: Readonly<Record<string, number>>;
  /**
   * The configuration space, its values when the device is made (a driver's reset leaves it as it is), and the fields that a driver may write
   * (none unless told).
   */
  readonly config?: {
    readonly struct: Struct<C>;
    readonly initial?: Partial<Values<C>>;
    readonly writable?: readonly (keyof C)[];
  };
  /** In order. `structQueue` makes one of requests of one shape; `{ upTo: 8, queues: [...] }` are as many as the front-end wants. */
  readonly queues: readonly (ChainQueue<NoInfer<C>, N, NoInfer<A>> | QueueGroup<NoInfer<C>, G, NoInfer<A>>)[];
  /**
   * Whether what the handlers of `structQueue` answer is looked at before it is sent, so that a field that is missing, unknown or of
   * another type is named. It is, unless told: that costs some nanoseconds for each answer.
   */
  readonly checkAnswers?: boolean;
  /** Memory that it shares with its driver beside the queues (§2.10), as in `[{ id: 0, size: 1 << 20 }]`; see `device.sharedMemory`. */
  readonly sharedMemory?: readonly SharedMemorySpec[];
  /** What a person may ask of the device while a driver has it, by name (`virtio-misc ctl`); see `control`. */
  readonly controls?: Readonly<Record<string, Control<NoInfer<C>, NoInfer<A>>>>;
  /** The driver is ready. */
  activate?(device: Running<C, A>): void;
  /** The driver wrote to the configuration space. It may before it is ready (§3.1.1): of the device, only `config` is there then. */
  configWritten?(device: Pick<Running<C, A>, 'config'> & Partial<Running<C, A>>): void;
  /**
   * The driver is gone: back to the state before `activate`. Alarms and requests in flight end by themselves. The configuration space stays
   * as it is (VIRTIO asks for no more): what the next driver is to find otherwise is set here.
   */
  reset?(device: Pick<Running<C, A>, 'config'>): void;
  /**
   * What the device goes on with when its code is replaced by an edited one: handed to `restore` as it is, not copied. What the driver or
   * the device wrote to the configuration space passes by itself. Requests in flight are finished by the old code, but for chains that
   * are among what this returns and that the new code takes (`queue.adopt`).
   */
  save?(): unknown;
  /** Goes on from what `save` returned, before `activate`. It is of the old code's making. */
  restore?(state: unknown): void;
  /**
   * Edited code has taken this one's place: hand back all chains that are held, and stop alarms that speak for themselves. A chain that
   * the new code adopted is its own, and a push of it here does nothing. Other alarms, for which requests in
   * flight may wait, ring until the last of these is back.
   */
  replaced?(device: Running<C, A>): void;
  /** Gives back what it holds, such as an open file: after the last `reset`, or when edited code has taken its place. */
  close?(): void;
}
