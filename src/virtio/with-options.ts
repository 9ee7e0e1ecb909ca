import type { MakeDevice } from './make-device.js';
import { type Parameters, readParameters, type Said } from './parameter.js';

/** Makes a device whose options can be told. Called as it is, it makes one with those that nobody told. */
export type MakeWithOptions = MakeDevice & {
  readonly options: Parameters;
  /** @throws RangeError for an option that is unknown, missing, or can't be read. */
  told(texts: Readonly<Record<string, string>>): MakeDevice;
};

/**
 * Gives a device options that a person can set: `virtio-misc serve ./disk.ts --set file=./a.img`.
 *
 * @param options - what there is to say, by name; see `parameter`.
 * @param make - given what was said, returns what makes the device: what `defineDevice` returns.
 */
export function withOptions<const P extends Parameters>(
  options: P,
  make: (options: Said<P>) => MakeDevice,
): MakeWithOptions {
  const told = (texts: Readonly<Record<string, string>>): MakeDevice =>
    make(readParameters(options, texts, 'option'));
  return Object.assign(() => told({})(), { options, told });
}

/** What makes the device with these options; whether it has any is its own affair. */
export function makeTold(make: MakeDevice, texts: Readonly<Record<string, string>>): MakeDevice {
  if ('told' in make) return (make as MakeWithOptions).told(texts);
  const [first] = Object.keys(texts);
  if (first === undefined) return make;
  throw new RangeError(`there is no option '${first}': the device has none (see withOptions)`);
}

/** The options that a device has. */
export function optionsOf(make: MakeDevice): Parameters {
  return 'options' in make ? (make as MakeWithOptions).options : {};
}
