import type { VirtioDevice } from './device.js';
import { openState, StateError, sealState } from './saved-state.js';
import { StateFields } from './state-fields.js';

/*
 * A device that goes on in another process, as bytes: which one it is, its configuration space, and what its `save` returns. What a transport
 * knows of it (features, rings) goes another way.
 */

/** @throws TypeError when `save` returns what has no bytes, with where that is; or what it throws. */
export function savedDevice(device: VirtioDevice): Uint8Array {
  const { id, name, config } = device;
  const state = device.save?.();
  return sealState({ id, name, config: config.read(0, config.size), state });
}

/**
 * Has a device that is not active go on from such bytes. If it can't, it may have taken a part of them: reset it.
 *
 * @throws StateError when they are no state of this device; or what its `restore` throws.
 */
export function restoreDevice(device: VirtioDevice, bytes: Uint8Array): void {
  const fields = new StateFields(openState(bytes), 'the state');
  const id = fields.number('id', 0xffff_ffff);
  if (id !== device.id) {
    throw new StateError(`the state is of ${fields.text('name')} (id ${id}), this is id ${device.id}`);
  }
  const config = fields.bytes('config', device.config.size);
  const state = fields.any('state');
  if (state !== undefined && device.restore === undefined) {
    throw new StateError(`the state has more than ${device.name} can go on with`);
  }
  device.config.restore(config);
  if (state !== undefined) device.restore!(state);
}
