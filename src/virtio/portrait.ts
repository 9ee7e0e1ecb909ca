import type { VirtioDevice } from './device.js';
import { savedDevice } from './moved-device.js';
import { openState, StateError, sealState } from './saved-state.js';
import { StateFields } from './state-fields.js';

/*
 * A device as its successor in another process has to know it: what its driver has seen of it and does not look at again, what was accepted, and what it
 * goes on from. The program over there may be another.
 */

/** What is in one. */
export interface Portrait {
  /** As `savedDevice` has it. */
  readonly device: Uint8Array;
  /** Its driver was ready, and has not reset it since. */
  readonly active: boolean;
  /** The durable memory that it keeps true, by name. An older program says nothing of it, and is taken to keep none. */
  readonly durable: readonly string[];
}

/** @throws as `savedDevice`. */
export function portraitOf(
  device: VirtioDevice,
  accepted: bigint,
  active: boolean,
  durable: readonly string[],
): Uint8Array {
  return sealState({
    device: savedDevice(device),
    queues: device.queues.map(({ name, size, sizeLimit }) => ({ name, size, sizeLimit })),
    features: device.features,
    sharedMemory: (device.sharedMemory ?? []).map(({ id, size, files = false }) => ({ id, size, files })),
    accepted,
    active,
    durable: [...durable],
  });
}

/** @throws StateError when these bytes are none. */
export function readPortrait(bytes: Uint8Array): Portrait {
  const fields = new StateFields(openState(bytes), 'the portrait');
  const durable = fields.any('durable');
  return {
    device: deviceIn(fields),
    active: fields.boolean('active'),
    durable: Array.isArray(durable) ? durable.map(String) : [],
  };
}

/** The device's own state in a portrait. @throws StateError when there is none. */
export function deviceIn(fields: StateFields): Uint8Array {
  const device = fields.any('device');
  if (!(device instanceof Uint8Array)) throw new StateError('the portrait has no device');
  return device;
}
