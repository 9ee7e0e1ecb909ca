import type { Clock } from './clock.js';
import { ConfigSpace } from './config-space.js';
import type { QueueSpec, VirtioDevice } from './device.js';
import { DeviceRunner } from './device-runner.js';
import { type MakeDevice, madeDevice } from './make-device.js';
import { deviceIn } from './portrait.js';
import { openState, StateError } from './saved-state.js';
import { StateFields } from './state-fields.js';

/** More queues than any transport can say. */
const QUEUES_MOST = 65_536;

/**
 * Has a device try to take the place of the one in a portrait, where nobody sees it, and lets it go again.
 *
 * @param offered - the ring features that its driver is offered.
 * @throws ReplaceError when the driver would notice; StateError or FeatureError when it can't go on from that; or what the device throws.
 */
export function trySuccessor(bytes: Uint8Array, make: MakeDevice, clock: Clock, offered: bigint): void {
  const fields = new StateFields(openState(bytes), 'the portrait');
  const device = madeDevice(make, 'serve');
  const old = puppetOf(fields);
  let failed: unknown;
  const runner = new DeviceRunner(old, {
    clock,
    interrupt() {},
    configInterrupt() {},
    broken() {},
    defer() {},
    print: undefined,
    warn: (_, about) => {
      failed ??= about?.error;
    },
    ringFeatures: offered,
  });
  try {
    runner.accept(fields.bigint('accepted'));
    if (fields.boolean('active')) runner.activate();
    if (old.save?.() !== undefined && device.restore === undefined) {
      throw new StateError(`${device.name} has no \`restore\`, and the one before has saved something`);
    }
    runner.replace(device);
    if (failed !== undefined) throw failed;
  } finally {
    runner.close();
  }
}

/** A device that does nothing, and looks like the one in a portrait. */
function puppetOf(fields: StateFields): VirtioDevice {
  const inner = new StateFields(openState(deviceIn(fields)), 'the state');
  const bytes = inner.any('config');
  if (!(bytes instanceof Uint8Array) || bytes.length > 4096)
    throw new StateError('config of the state is none');
  const config = new ConfigSpace(bytes.length);
  config.restore(bytes);
  const state = inner.any('state');
  return {
    id: inner.number('id', 0xffff_ffff),
    name: inner.text('name'),
    features: fields.bigint('features'),
    queues: fields.some('queues', QUEUES_MOST).map(
      (queue): QueueSpec => ({
        name: queue.text('name'),
        size: queue.number('size', 32_768),
        sizeLimit: queue.any('sizeLimit') === undefined ? undefined : queue.number('sizeLimit', 32_768),
      }),
    ),
    sharedMemory: fields.some('sharedMemory', 256).map((region) => ({
      id: region.number('id', 255),
      size: region.number('size', Number.MAX_SAFE_INTEGER),
      files: region.boolean('files'),
    })),
    config,
    queueNotified() {},
    save: () => state,
  };
}
