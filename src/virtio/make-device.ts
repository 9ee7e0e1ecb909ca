import { ConfigSpace } from './config-space.js';
import { described } from './described.js';
import type { VirtioDevice } from './device.js';
import type { Fields } from './field.js';

/**
 * Makes a device, a new one at each call: one for each front-end. It is what `defineDevice`, `virtioMisc` and `virtioTest` return, and
 * what a device's file exports.
 */
export type MakeDevice<C extends Fields = Fields, N extends string = string> = (() => VirtioDevice) & {
  /** For types alone: of its configuration space, and its queues' names. */
  readonly kind?: { readonly config: C; readonly queues: N } | undefined;
};

/** Whether it has what every device has. */
export function isDevice(value: unknown): value is VirtioDevice {
  if (typeof value !== 'object' || value === null) return false;
  const { id, name, features, queues, config, queueNotified } = value as Partial<VirtioDevice>;
  return (
    Number.isInteger(id) &&
    typeof name === 'string' &&
    typeof features === 'bigint' &&
    Array.isArray(queues) &&
    config instanceof ConfigSpace &&
    typeof queueNotified === 'function'
  );
}

/**
 * The device that somebody was given: itself, or what makes it.
 *
 * @param taker - who was given it, for the message.
 * @throws TypeError when it is neither; or what it throws.
 */
export function madeDevice(given: unknown, taker: string): VirtioDevice {
  const device = typeof given === 'function' ? (given as () => unknown)() : given;
  if (isDevice(device)) return device;
  if (typeof given !== 'function')
    throw new TypeError(`${taker} takes a device, or what makes one: ${described(given)} is neither`);
  throw new TypeError(`${taker} was given a function that makes no device, but ${made(device)}`);
}

/**
 * @param taker - who was given it, for the message.
 * @throws TypeError when it is no function.
 */
export function checkMakes(given: unknown, taker: string): asserts given is MakeDevice {
  if (typeof given === 'function') return;
  const why = isDevice(given)
    ? 'this is one device, and each front-end gets its own'
    : `not ${described(given)}`;
  throw new TypeError(`${taker} takes what makes a device, such as defineDevice returns: ${why}`);
}

function made(value: unknown): string {
  return typeof value === 'function'
    ? 'another function: give that one itself, such as virtioMisc() and not () => virtioMisc()'
    : described(value);
}
