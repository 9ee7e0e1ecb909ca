import { openState, STATE_SIZE_MOST, sealState } from '../../../virtio/saved-state.js';
import { StateFields } from '../../../virtio/state-fields.js';
import * as wire from '../messages.js';
import { VfioUserError } from '../vfio-user-error.js';

/** What moves: a device, as `VirtioPciFunction` has it. */
export interface Movable {
  halt(done: (problem?: string) => void): void;
  proceed(): void;
  clear(): void;
  save(): Uint8Array;
  restore(state: Uint8Array): void;
}

const {
  VFIO_USER_DEVICE_STATE_ERROR: ERROR,
  VFIO_USER_DEVICE_STATE_STOP: STOP,
  VFIO_USER_DEVICE_STATE_RUNNING: RUNNING,
  VFIO_USER_DEVICE_STATE_STOP_COPY: STOP_COPY,
  VFIO_USER_DEVICE_STATE_RESUMING: RESUMING,
} = wire;

const NOTHING = new Uint8Array();

/** Bytes of a state that is under way and kept for the next process. */
const KEPT_MOST = 4 << 20;

/** What a client may ask for. */
const STATES: readonly number[] = [STOP, RUNNING, STOP_COPY, RESUMING];

/**
 * A device's way from one server to another, as `<linux/vfio.h>` draws it (enum vfio_device_mig_state): all arcs begin or end in STOP, and a
 * state that is not next to another is reached through it. A device that is to be copied stands still; there is no PRE_COPY.
 */
export class Migration {
  readonly #device: Movable;
  #state: number = RUNNING;
  /** In STOP_COPY: what is left to be read. */
  #outgoing: Uint8Array = NOTHING;
  /** In RESUMING: what was written, with room for more. */
  #incoming: Uint8Array = NOTHING;
  #written = 0;

  constructor(device: Movable) {
    this.#device = device;
  }

  get state(): number {
    return this.#state;
  }

  /**
   * Goes to another state, by the shortest way.
   *
   * @param done - called once, now or later, when it is there; or with why not: then it is in the last state that it reached, or in ERROR.
   * @throws VfioUserError for one that there is no way to; nothing is changed then.
   */
  change(to: number, done: (error?: VfioUserError) => void): void {
    if (!STATES.includes(to)) {
      throw new VfioUserError('EINVAL', `the migration state can't be set to ${wire.stateName(to)}`);
    }
    if (this.#state === ERROR) {
      const text = `the migration state can't go from ERROR to ${wire.stateName(to)}: DEVICE_RESET leads out of it`;
      throw new VfioUserError('EINVAL', text);
    }
    this.#go(to, done);
  }

  #go(to: number, done: (error?: VfioUserError) => void): void {
    if (this.#state === to) {
      done();
      return;
    }
    const next = this.#state === STOP ? to : STOP;
    this.#arc(next, (error) => {
      if (error !== undefined) {
        done(error);
        return;
      }
      this.#state = next;
      this.#go(to, done);
    });
  }

  /** One step. */
  #arc(to: number, done: (error?: VfioUserError) => void): void {
    const from = this.#state;
    if (from === RUNNING) {
      this.#device.halt((problem) => {
        done(
          problem === undefined
            ? undefined
            : new VfioUserError('EBUSY', `the device can't be stopped: ${problem}`),
        );
      });
      return;
    }
    try {
      if (from === STOP_COPY) this.#outgoing = NOTHING;
      else if (from === RESUMING) this.#restore();
      else if (to === STOP_COPY) this.#outgoing = this.#device.save();
      else if (to === RESUMING) this.#device.clear();
      else this.#device.proceed();
    } catch (error) {
      const what = from === RESUMING ? 'go on from the state that was written' : 'be saved';
      done(new VfioUserError('EINVAL', `the device can't ${what}: ${(error as Error).message}`));
      return;
    }
    done();
  }

  #restore(): void {
    const state = this.#incoming.subarray(0, this.#written);
    this.#incoming = NOTHING;
    this.#written = 0;
    try {
      this.#device.restore(state);
    } catch (error) {
      // It may have taken a part: nobody is to go on with that.
      this.#device.clear();
      this.#state = ERROR;
      throw error;
    }
  }

  /** MIG_DATA_READ. @returns at most so many of the next bytes; fewer when there are no more. */
  read(size: number): Uint8Array {
    if (this.#state !== STOP_COPY) {
      throw new VfioUserError(
        'EINVAL',
        `MIG_DATA_READ in ${wire.stateName(this.#state)}, where nothing is read`,
      );
    }
    const bytes = this.#outgoing.subarray(0, size);
    this.#outgoing = this.#outgoing.subarray(bytes.length);
    return bytes;
  }

  /** MIG_DATA_WRITE. */
  write(bytes: Uint8Array): void {
    if (this.#state !== RESUMING) {
      throw new VfioUserError(
        'EINVAL',
        `MIG_DATA_WRITE in ${wire.stateName(this.#state)}, where nothing is written`,
      );
    }
    const length = this.#written + bytes.length;
    if (length > STATE_SIZE_MOST) {
      throw new VfioUserError('ENOSPC', `MIG_DATA_WRITE: a state of over ${STATE_SIZE_MOST} bytes`);
    }
    if (length > this.#incoming.length) {
      const more = new Uint8Array(Math.max(length, 2 * this.#incoming.length));
      more.set(this.#incoming);
      this.#incoming = more;
    }
    this.#incoming.set(bytes, this.#written);
    this.#written = length;
  }

  /** @throws VfioUserError when registers can't be written now: what was saved would not have it. */
  checkWritable(): void {
    if (this.#state === STOP_COPY) {
      throw new VfioUserError('EINVAL', 'REGION_WRITE in STOP_COPY, to a device whose state is being read');
    }
  }

  /** Where it is, for the next process; `undefined` in RUNNING. */
  keep(): Uint8Array | undefined {
    if (this.#state === RUNNING) return undefined;
    const data = this.#state === RESUMING ? this.#incoming.subarray(0, this.#written) : this.#outgoing;
    // What is more is not kept: a client that asks for the rest, or has it used, hears that it is not there.
    return sealState({ state: this.#state, data: data.length <= KEPT_MOST ? data : undefined });
  }

  /** Goes on from what `keep` returned in a process before. @throws StateError when it can't. */
  resume(bytes: Uint8Array): void {
    const kept = new StateFields(openState(bytes), 'the migration');
    this.#state = kept.number('state', RESUMING);
    const data = kept.any('data');
    if (data instanceof Uint8Array) {
      if (this.#state === RESUMING) this.write(data);
      else this.#outgoing = data;
    } else this.#state = this.#state === STOP_COPY ? STOP : ERROR;
  }

  /** The device was reset: it runs, whatever was before. */
  reset(): void {
    this.#outgoing = NOTHING;
    this.#incoming = NOTHING;
    this.#written = 0;
    this.#state = RUNNING;
    this.#device.proceed();
  }
}
