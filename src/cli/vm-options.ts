import type { RingFeatures } from '../virtio/ring-features.js';
import type { Machine } from '../vm/boot-options.js';
import type { DeviceOptions, WantedDevice } from './device-options.js';
import type { InspectOptions } from './inspect-option.js';
import type { KeepOptions } from './keeper-options.js';
import type { TransportName } from './qemu-args.js';
import type { RecordOptions } from './record-options.js';

/** What `virtio-misc vm` was told. */
export interface VmOptions extends DeviceOptions, RecordOptions, InspectOptions, KeepOptions {
  readonly device?: readonly WantedDevice[];
  readonly listDrivers?: boolean;
  readonly control?: readonly string[];
  readonly exec?: string;
  readonly module: readonly string[];
  readonly tool: readonly string[];
  readonly transport?: TransportName;
  readonly vectors?: number;
  readonly accel: string;
  readonly machine: Machine;
  readonly kernel: string;
  readonly memory: number;
  readonly cpus: number;
  readonly typeCheck: boolean;
  readonly trace?: boolean;
  readonly timeout?: number;
  readonly metrics?: number;
  readonly verbose?: boolean;
  readonly quiet?: boolean;
  readonly poll?: boolean | number;
  readonly features?: RingFeatures;
}
