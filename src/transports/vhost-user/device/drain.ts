import type { Alarm } from '../../../virtio/clock.js';
import type { DeviceRunner } from '../../../virtio/device-runner.js';
import type { Environment } from '../../session.js';
import type { Ring } from './ring.js';

/** How long is waited for requests in flight, in ns. The front-end, and often its guest, stand still meanwhile. */
const TIMEOUT = 5e9;

/** Waits for requests that the device still has, but not for ever. */
export class Drain {
  readonly #runner: DeviceRunner;
  readonly #environment: Environment;
  #draining: Alarm | undefined;

  constructor(runner: DeviceRunner, environment: Environment) {
    this.#runner = runner;
    this.#environment = environment;
  }

  /**
   * Waits until the device has handed back all requests of a queue, which is held. One wait at a time.
   *
   * @param done - called once, now or later.
   */
  whenEmpty(index: number, done: () => void): void {
    const finish = (): void => {
      if (this.#draining !== alarm) return;
      this.#draining = undefined;
      alarm.close();
      done();
    };
    const alarm = this.#alarm(index, 'has requests in flight', 'it is stopped without them', finish);
    this.#draining = alarm;
    let drained = false;
    let later = false;
    this.#runner.whenDrained(index, () => {
      drained = true;
      // From inside the device, which must return first.
      if (later) this.#environment.defer(finish);
    });
    later = true;
    if (drained) finish();
  }

  /**
   * Requests that are on record are served anew when the device does no more of what it did for them: an old write may come after a newer one.
   *
   * @param done - called once, later.
   * @returns whether that takes time; `done` is not called when it takes none.
   */
  whenHome(ring: Ring, done: () => void): boolean {
    const { index } = ring;
    const go = (): void => {
      ring.awaiting?.close();
      ring.awaiting = undefined;
      done();
    };
    let home = false;
    this.#runner.whenHome(index, () => {
      home = true;
      // From inside the device, which must return first.
      if (ring.awaiting !== undefined) this.#environment.defer(() => ring.awaiting !== undefined && go());
    });
    if (home) return false;
    const late = (): void => {
      this.#runner.forgetAstray(index);
      go();
    };
    ring.awaiting = this.#alarm(
      index,
      'has not given up its requests',
      'they are served anew all the same',
      late,
    );
    return true;
  }

  close(): void {
    this.#draining?.close();
    this.#draining = undefined;
  }

  #alarm(index: number, what: string, then: string, late: () => void): Alarm {
    const { clock, warn } = this.#environment;
    const alarm = clock.alarm(() => {
      const { name, queues } = this.#runner.device;
      warn(`${name}: queue ${index} (${queues[index]!.name}) ${what} after ${TIMEOUT / 1e9} s: ${then}`);
      late();
    });
    alarm.set(clock.now() + TIMEOUT);
    return alarm;
  }
}
