import { SplitDeviceQueue } from '../../virtqueue/split/device.js';
import { PoliteDriver } from '../../virtqueue/testing/polite-driver.js';
import type { VirtioDevice } from '../device.js';
import { DeviceRunner } from '../device-runner.js';
import { RING_FEATURES } from '../features.js';
import { type MakeDevice, madeDevice } from '../make-device.js';
import type { Monitor } from '../monitor.js';
import { FakeClock } from './fake-clock.js';

/** A device on the bench: a polite driver for each queue, a fake clock, and all that the device does to be looked at. */
export class DeviceBench {
  readonly clock: FakeClock = new FakeClock();
  readonly runner: DeviceRunner;
  readonly drivers: readonly PoliteDriver[];
  /** What it printed. */
  readonly lines: string[] = [];
  readonly warnings: string[] = [];
  /** Interrupts by queue. */
  readonly interrupts: number[];
  configInterrupts = 0;
  /** Queues that broke, and `undefined` for the device. */
  readonly broken: (number | undefined)[] = [];
  readonly #deferred: (() => void)[] = [];

  /**
   * @param given - what makes the device, or the device itself.
   * @param features - what the driver accepts of the device's own bits; all of them unless told.
   * @param monitor - looks on.
   */
  constructor(given: MakeDevice | VirtioDevice, features?: bigint, monitor?: Monitor) {
    const device = madeDevice(given, 'DeviceBench');
    this.interrupts = device.queues.map(() => 0);
    this.runner = new DeviceRunner(device, {
      clock: this.clock,
      interrupt: (queue) => {
        this.interrupts[queue]! += 1;
      },
      configInterrupt: () => {
        this.configInterrupts += 1;
      },
      broken: (queue) => void this.broken.push(queue),
      defer: (callback) => void this.#deferred.push(callback),
      print: (line) => void this.lines.push(line),
      warn: (line) => void this.warnings.push(line),
      monitor,
    });
    this.runner.accept((features ?? device.features) | RING_FEATURES);
    this.drivers = device.queues.map(
      ({ size }) => new PoliteDriver({ size, eventIdx: true, indirect: true }),
    );
    for (const [index, driver] of this.drivers.entries()) {
      this.runner.startQueue(index, new SplitDeviceQueue(driver.device));
    }
    this.runner.activate();
  }

  /** Shows the device what was sent on this queue, and kicks it. */
  kick(queue: number): void {
    this.drivers[queue]!.publish();
    this.runner.kick(queue);
    this.settle();
  }

  /** Sends one request and returns the answer; `undefined` when the device did not use it. */
  request(queue: number, bytes: Uint8Array, room: number): Uint8Array | undefined {
    this.drivers[queue]!.send([bytes], room > 0 ? [room] : []);
    this.kick(queue);
    return this.drivers[queue]!.receive()?.bytes;
  }

  /** Lets time pass. */
  advance(ns: number): void {
    this.clock.advance(ns);
    this.settle();
  }

  /** Runs what the runner put off. */
  settle(): void {
    for (let callback = this.#deferred.shift(); callback !== undefined; callback = this.#deferred.shift())
      callback();
  }
}
