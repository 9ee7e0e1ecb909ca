import { checkDefinition } from './check-definition.js';
import { DefinedDevice } from './defined-device.js';
import type { DeviceDefinition } from './device-definition.js';
import type { MakeDevice } from './make-device.js';
import { Place } from './place.js';
import type { Fields } from './struct.js';

/**
 * Makes a device of its definition.
 *
 * @param define - called for each front-end anew, so that variables in it are the state of one device.
 * @returns what `serve` takes: makes the device.
 * @throws TypeError or RangeError when the definition can't be a device, with the place and what was probably meant; for a function, when
 *   a device is made.
 */
export function defineDevice<
  C extends Fields = Record<never, never>,
  const N extends string = never,
  const G extends string = never,
>(define: DeviceDefinition<C, N, G> | (() => DeviceDefinition<C, N, G>)): MakeDevice<C, N | `${G}${number}`> {
  const place = new Place(defineDevice);
  const check = (definition: unknown): void => {
    try {
      checkDefinition(definition);
    } catch (error) {
      throw place.blame(error as Error);
    }
  };
  if (typeof define !== 'function') {
    check(define);
    return () => new DefinedDevice(define as unknown as DeviceDefinition<C>);
  }
  return () => {
    const definition = define();
    check(definition);
    return new DefinedDevice(definition as unknown as DeviceDefinition<C>);
  };
}
