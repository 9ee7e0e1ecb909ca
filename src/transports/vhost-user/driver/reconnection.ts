import type { Clock } from '../../../virtio/clock.js';
import { TransportError } from '../../../virtio/driver-transport.js';
import type { Channel } from '../../ports.js';
import { Persistence } from './persistence.js';

/** What becomes of a search for the next back-end. */
export interface SearchEnds {
  /** There is one, and it was joined. */
  found(): void;
  /** The time is over. */
  failed(error: TransportError): void;
}

/** A front-end whose back-end may go: it looks for the next one, and whoever needs one waits meanwhile. */
export class Reconnection {
  readonly #clock: Clock;
  readonly #dial: (() => Channel) | undefined;
  /** ns that a back-end may be gone; 0 when it may not. */
  readonly #window: number;
  /** While it looks: what ends that, and when it is over. */
  #away: Persistence | undefined;
  #back: Promise<void> | undefined;

  /**
   * @param reconnect - ms, or whether at all.
   * @throws RangeError for a time that is none.
   */
  constructor(clock: Clock, dial: (() => Channel) | undefined, reconnect: boolean | number) {
    this.#clock = clock;
    this.#dial = dial;
    this.#window = windowOf(reconnect);
  }

  /** Whether it was asked for. */
  get wanted(): boolean {
    return this.#window > 0;
  }

  /**
   * Looks for the next back-end, and has `join` go on with it.
   *
   * @returns `false` where a back-end may not be gone.
   */
  search(join: (channel: Channel) => Promise<void>, { found, failed }: SearchEnds): boolean {
    const dial = this.#dial;
    if (this.#window === 0 || dial === undefined) return false;
    const away = new Persistence(this.#clock);
    this.#away = away;
    const over = (): void => {
      this.#away = undefined;
      this.#back = undefined;
    };
    this.#back = away
      .run(() => join(dial()), this.#window)
      .then(
        () => {
          over();
          found();
        },
        (reason: Error) => {
          over();
          if (!away.stopped) failed(asTransportError(reason));
        },
      );
    return true;
  }

  /** Does not look any more. */
  stop(): void {
    this.#away?.stop();
  }

  /** Resolves when it does not look any more; `undefined` while it does not. */
  get over(): Promise<void> | undefined {
    return this.#back;
  }

  /** Waits until there is a back-end, and does it again with the next one when this one is lost meanwhile. */
  async lasting<T>(act: () => Promise<T>): Promise<T> {
    for (;;) {
      // Not waited for otherwise, so that messages go out in the order of the calls.
      if (this.#back !== undefined) await this.#back;
      try {
        return await act();
      } catch (error) {
        if (this.#back === undefined) throw error;
      }
    }
  }
}

/** @returns ns. */
function windowOf(reconnect: boolean | number): number {
  if (typeof reconnect === 'boolean') return reconnect ? Number.POSITIVE_INFINITY : 0;
  if (!(reconnect > 0))
    throw new RangeError(`a back-end that may be gone for ${reconnect} ms: say some, or true`);
  return reconnect * 1e6;
}

function asTransportError(error: Error): TransportError {
  return error instanceof TransportError ? error : new TransportError('LOST', error.message);
}
