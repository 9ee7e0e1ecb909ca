import { described } from './described.js';
import type { DurableMemory, DurablePort } from './durable.js';
import { type KeptClock, keptClock } from './kept-clock.js';

/** What a name can be: what can be said in a line, and is nobody else's. */
const NAME = /^[A-Za-z0-9][\w.-]{0,62}$/;
/** How many there can be, and of how many bytes in all: more than anybody has, and what can be mapped. */
const MOST = 256;
const BYTES_MOST = 2 ** 40;

/** What no device can name: where its clock is. */
export const CLOCK = '@clock';
const CLOCK_SIZE = 32;

/** A device's durable memory, by name. */
export class DurableStore {
  readonly #port: DurablePort;
  #clock: KeptClock | undefined;
  readonly #opened = new Set<string>();

  constructor(port: DurablePort) {
    this.#port = port;
    const place = port.found.get(CLOCK);
    if (place !== undefined) this.#clock = keptClock(place.view);
  }

  /** The device's clock, where somebody keeps it: not before there is something else to keep. */
  get clock(): KeptClock | undefined {
    return this.#clock;
  }

  /**
   * @param begun - called with the first: the clock is kept from now on.
   * @throws as `DeviceHost.durable`.
   */
  open(name: string, size: number, begun: (clock: KeptClock) => void): DurableMemory {
    if (typeof name !== 'string' || !NAME.test(name))
      throw new TypeError(
        `durable memory has a name of up to 63 letters, digits, '_', '-' and '.', not ${described(name)}`,
      );
    const { kept } = this.#port;
    const before = this.#port.found.get(name);
    if (before !== undefined && before.size !== size)
      throw new RangeError(
        `durable memory '${name}' has ${before.size} bytes, not ${size}: what has another size takes another name`,
      );
    if (!(Number.isInteger(size) && size >= 1 && size <= BYTES_MOST - this.#others(name)))
      throw new RangeError(
        `durable memory '${name}' can't have ${size} bytes: it has a whole number of them, of ${BYTES_MOST} in all`,
      );
    if (before === undefined && this.#count >= MOST)
      throw new RangeError(`durable memory '${name}' is one too many: there can be ${MOST}`);
    if (this.#clock === undefined) {
      this.#clock = keptClock(this.#port.make(CLOCK, CLOCK_SIZE).view);
      begun(this.#clock);
    }
    this.#opened.add(name);
    const found = before !== undefined;
    const { view } = before ?? this.#port.make(name, size);
    return { name, size, view, found, kept };
  }

  /** The names that the device has asked for: what is in others, it does not keep true. */
  get opened(): string[] {
    return [...this.#opened];
  }

  /** The driver reset the device: nothing is left behind. */
  forget(): void {
    this.#opened.clear();
    this.#clock = undefined;
    if (this.#port.found.size > 0) this.#port.forget();
  }

  get #count(): number {
    const { found } = this.#port;
    return found.size - (found.has(CLOCK) ? 1 : 0);
  }

  /** Bytes of all but this. */
  #others(name: string): number {
    let sum = 0;
    for (const [other, { size }] of this.#port.found) if (other !== name) sum += size;
    return sum;
  }
}
