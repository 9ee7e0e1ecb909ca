import { StateError } from '../../../virtio/saved-state.js';
import { VFIO_USER_DEVICE_STATE_RUNNING } from '../messages.js';
import type { Migration, Movable } from './migration.js';

/** A device as its function has it. */
export interface Savable extends Movable {
  /** The driver is ready. */
  readonly active: boolean;
  saveDevice(): Uint8Array;
}

/** @see Session.save */
export async function saveOf(device: Savable, migration: Migration, standing: boolean): Promise<Uint8Array> {
  if (!device.active || migration.state !== VFIO_USER_DEVICE_STATE_RUNNING) return device.saveDevice();
  if (!standing)
    throw new StateError(
      "a vfio-user client such as QEMU does not say when its guest stands still: stop it ('stop'), and say so (--stopped)",
    );
  await new Promise<void>((resolve, reject) => {
    device.halt((problem) => {
      if (problem === undefined) resolve();
      else reject(new StateError(`the device can't be stopped: ${problem}`));
    });
  });
  try {
    return device.saveDevice();
  } finally {
    device.proceed();
  }
}
