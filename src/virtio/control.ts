import type { Running } from './chain-queue.js';
import type { ControlInfo } from './control-info.js';
import type { Fields } from './field.js';
import { type Parameters, readParameters, type Said } from './parameter.js';

/** Something that a person may ask of a device while it runs. */
export interface Control<C extends Fields = Fields, A extends string = string> {
  /** One line for people. */
  readonly help: string;
  /** What is to be said with it, in this order or by name. */
  readonly parameters: Parameters;
  /** Does it. What it returns is shown to whoever asked: a text, or anything that JSON has. Throws to refuse. */
  run(said: Readonly<Record<string, unknown>>, device: Running<C, A>): unknown;
}

/**
 * A control of a device, for `controls` in its definition.
 *
 * @param parameters - what is to be said with it; see `parameter`.
 * @param run - where it uses the configuration space, or queues by their names, it names the device's type: `(said, device: Device<...>)`.
 */
export function control<const P extends Parameters, C extends Fields, A extends string>(
  help: string,
  parameters: P,
  run: (said: Said<P>, device: Running<C, A>) => unknown,
): Control<C, A> {
  return { help, parameters, run: run as Control<C, A>['run'] };
}

/** What there is to ask, for people. */
export function controlInfos(
  controls: Readonly<Record<string, Pick<Control, 'help' | 'parameters'>>>,
): ControlInfo[] {
  return Object.entries(controls).map(([name, { help, parameters }]) => {
    const words = Object.entries(parameters).map(([key, { placeholder, fallback }]) =>
      fallback === undefined ? `${key}=${placeholder}` : `[${key}=${placeholder}]`,
    );
    return { name, help, usage: [name, ...words].join(' ') };
  });
}

/**
 * What was said with a control: `name=value`, or values in order.
 *
 * @throws RangeError that says what to write.
 */
export function readWords(
  parameters: Parameters,
  words: readonly string[],
): Readonly<Record<string, unknown>> {
  const names = Object.keys(parameters);
  const texts: Record<string, string> = {};
  let next = 0;
  for (const word of words) {
    const [, key, value] = /^([A-Za-z]\w*)=(.*)$/s.exec(word) ?? [];
    const name = key ?? names[next++];
    if (name === undefined) throw new RangeError(`'${word}' is too much: there is no more to say`);
    texts[name] = value ?? word;
  }
  return readParameters(parameters, texts, 'value');
}
