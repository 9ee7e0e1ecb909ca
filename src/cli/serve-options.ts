import type { RingFeatures } from '../virtio/ring-features.js';
import type { DeviceOptions, Settings } from './device-options.js';
import type { InspectOptions } from './inspect-option.js';
import type { KeepOptions } from './keeper-options.js';
import type { RecordOptions } from './record-options.js';

/** What `serve` was told, as commander leaves it. */
export interface ServeCommandOptions extends DeviceOptions, RecordOptions, InspectOptions, KeepOptions {
  readonly set?: Settings;
  readonly vhostUser?: string;
  readonly vfioUser?: string;
  readonly socketPath?: string;
  readonly fd?: number;
  readonly printCapabilities?: boolean;
  readonly vectors?: number;
  readonly maxMemory?: number;
  readonly control?: readonly string[];
  readonly quiet?: boolean;
  readonly poll?: boolean | number;
  readonly restore?: string;
  readonly inband?: boolean;
  readonly features?: RingFeatures;
  readonly watch: boolean;
  readonly typeCheck: boolean;
  readonly trace?: boolean;
  readonly metrics?: number;
  readonly log: 'auto' | 'pretty' | 'json';
}
