import type { VirtioDevice } from '../virtio/device.js';
import { didYouMean } from '../virtio/nearest.js';

/** No device of these knows the control. */
export class UnknownControlError extends Error {
  override readonly name = 'UnknownControlError';
}

/** Asks devices what people want of them, by the words of a line. */
export class ControlDesk {
  readonly #devices: () => readonly VirtioDevice[];

  /** @param devices - those that front-ends have at the moment. */
  constructor(devices: () => readonly VirtioDevice[]) {
    this.#devices = devices;
  }

  /**
   * Has every device that knows the control do it.
   *
   * @param words - the control and what is said with it; none, or `help`, for a list of what there is.
   * @returns lines to show.
   * @throws Error with one line that says what to do instead.
   */
  async ask(words: readonly string[]): Promise<string> {
    const [name, ...said] = words;
    const devices = this.#devices();
    if (devices.length === 0) throw new Error('no front-end has the device yet');
    const known = devices.flatMap(({ controls = [] }) => controls.map((control) => control.name));
    if (name === undefined || (name === 'help' && !known.includes('help'))) return this.#list(devices);
    const asked = devices.filter(({ controls = [] }) => controls.some((control) => control.name === name));
    if (asked.length === 0) {
      const names = devices.map((device) => device.name).join(', ');
      throw new UnknownControlError(`${names}: there is no control '${name}'${didYouMean(name, known)}`);
    }
    const answers = await Promise.all(asked.map((device) => device.control!(name, said)));
    return answers
      .map((answer, index) => (asked.length > 1 ? `${asked[index]!.name}: ${shown(answer)}` : shown(answer)))
      .filter((line) => line !== '')
      .join('\n');
  }

  #list(devices: readonly VirtioDevice[]): string {
    const rows = devices.flatMap(({ controls = [] }) =>
      controls.map(({ usage, help }) => [usage, help] as const),
    );
    if (rows.length === 0) return `${devices.map(({ name }) => name).join(', ')}: there is nothing to ask`;
    const width = Math.max(...rows.map(([usage]) => usage.length));
    return rows.map(([usage, help]) => `${usage.padEnd(width)}  ${help}`).join('\n');
  }
}

function shown(answer: unknown): string {
  if (answer === undefined) return '';
  if (typeof answer === 'string') return answer;
  return JSON.stringify(answer, (_, value) => (typeof value === 'bigint' ? `${value}` : value));
}
