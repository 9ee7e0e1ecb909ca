import type { VirtioDevice } from '../virtio/device.js';

/** `VHostUserBackendType` of QEMU's docs/interop/vhost-user.json, by virtio id. */
const TYPES: Readonly<Record<number, string>> = {
  1: 'net',
  2: 'block',
  3: 'console',
  4: 'rng',
  5: 'balloon',
  7: 'rpmsg',
  8: 'scsi',
  9: '9p',
  11: 'rproc-serial',
  12: 'caif',
  16: 'gpu',
  18: 'input',
  19: 'vsock',
  20: 'crypto',
  26: 'fs',
};

/** Types for which the schema wants a list of features; ours have none of those that are defined. */
const WITH_FEATURES: readonly string[] = ['block', 'gpu', 'input'];

/** What `--print-capabilities` prints, by the conventions for back-end programs. */
export interface Capabilities {
  /** As the schema has it; for a device that it does not list, the device's name without `virtio-`. */
  readonly type: string;
  readonly features?: readonly string[];
}

/** What kind of vhost-user back-end a device is. */
export function capabilities({ id, name }: VirtioDevice): Capabilities {
  const type = TYPES[id] ?? name.replace(/^virtio-/, '');
  return WITH_FEATURES.includes(type) ? { type, features: [] } : { type };
}
