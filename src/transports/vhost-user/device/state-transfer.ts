import type { Alarm } from '../../../virtio/clock.js';
import { STATE_SIZE_MOST } from '../../../virtio/saved-state.js';
import type { Transfer } from '../../ports.js';
import type { Environment } from '../../session.js';

/** How long CHECK_DEVICE_STATE waits for the other end of the pipe, in ns. */
const CHECK_TIMEOUT = 10e9;

/** The device's state on its way through a pipe, one at a time (DEVICE_STATE). */
export class StateTransfer {
  readonly #environment: Environment;
  readonly #warn: (line: string) => void;
  #outcome: 'none' | 'under way' | 'done' | 'failed' = 'none';
  #transfer: Transfer | undefined;
  /** CHECK_DEVICE_STATE waits. */
  #checked: ((good: boolean) => void) | undefined;
  #alarm: Alarm | undefined;

  /** @param warn - a line about what went wrong. */
  constructor(environment: Environment, warn: (line: string) => void) {
    this.#environment = environment;
    this.#warn = warn;
  }

  /**
   * The state goes to the front-end. One that was under way before is given up.
   *
   * @param fd - taken over in any case.
   * @throws OsError when it is no pipe.
   */
  save(bytes: Uint8Array, fd: number): void {
    this.#begin();
    this.#transfer = this.#environment.os.writePipe(fd, bytes, (error) => this.#end(error));
    this.#outcome = 'under way';
  }

  /**
   * It comes from there.
   *
   * @param fd - taken over in any case.
   * @param restore - has the device go on from it; throws when it can't.
   * @throws OsError when it is no pipe.
   */
  load(fd: number, restore: (bytes: Uint8Array) => void): void {
    this.#begin();
    this.#transfer = this.#environment.os.readPipe(fd, STATE_SIZE_MOST, (result) =>
      this.#end(result instanceof Uint8Array ? attempt(() => restore(result)) : result),
    );
    this.#outcome = 'under way';
  }

  /** CHECK_DEVICE_STATE. @param checked - called once, now or later. */
  check(checked: (good: boolean) => void): void {
    if (this.#outcome === 'under way') {
      const { clock } = this.#environment;
      this.#checked = checked;
      this.#alarm = clock.alarm(() => {
        this.#transfer?.end();
        this.#end(new Error(`the other end of the pipe was not closed within ${CHECK_TIMEOUT / 1e9} s`));
      });
      this.#alarm.set(clock.now() + CHECK_TIMEOUT);
      return;
    }
    if (this.#outcome === 'none') this.#warn('CHECK_DEVICE_STATE: no state was transferred');
    checked(this.#outcome === 'done');
  }

  /** Lets the pipe go, and answers nobody. */
  close(): void {
    this.#checked = undefined;
    this.#alarm?.close();
    this.#begin();
  }

  #begin(): void {
    this.#transfer?.end();
    this.#transfer = undefined;
    this.#outcome = 'none';
  }

  #end(error: Error | undefined): void {
    this.#transfer = undefined;
    this.#outcome = error === undefined ? 'done' : 'failed';
    if (error !== undefined) this.#warn(`the device's state was not transferred: ${error.message}`);
    const checked = this.#checked;
    this.#checked = undefined;
    this.#alarm?.close();
    this.#alarm = undefined;
    checked?.(error === undefined);
  }
}

function attempt(act: () => void): Error | undefined {
  try {
    act();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}
