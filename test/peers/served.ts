import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach } from 'node:test';
import { LinuxOs } from '../../src/linux/linux-os.js';
import { serve } from '../../src/serve.js';
import { VhostUserFrontend } from '../../src/transports/vhost-user/driver/frontend.js';
import { ProbeDevice } from '../../src/transports/vhost-user/testing/probe-device.js';
import { RawFrontend } from '../../src/transports/vhost-user/testing/raw-frontend.js';
import { type Driver, openDriver } from '../../src/virtio/driver.js';

/** Those of the test that runs; one that fails leaves its own behind, which would keep the process. */
const running = new Set<Served>();
afterEach(async () => {
  for (const served of running) await served.close();
});

/** One peer's device that is served, and what became of it. */
export interface Place {
  readonly vhostUser: string;
  readonly vfioUser: string;
  readonly warnings: string[];
  /** Why its connections ended, in order; `undefined` for one that just left. */
  readonly ends: (Error | undefined)[];
}

/**
 * Two places in this process: one to attack, and one whose front-end must not notice. All of it runs on one thread, so that whatever keeps
 * the back-end keeps that front-end too: it is told by what comes before what.
 */
export class Served {
  readonly os: LinuxOs = new LinuxOs();
  readonly attacked: Place;
  /** The front-end that must not notice. */
  readonly neighbour: Driver;
  readonly #folder: string;
  readonly #close: () => void;
  #before = 0;
  #wake: () => void = () => {};

  private constructor(folder: string, attacked: Place, close: () => void, neighbour: Driver, os: LinuxOs) {
    this.#folder = folder;
    this.attacked = attacked;
    this.#close = close;
    this.neighbour = neighbour;
    this.os = os;
  }

  static async start(make: () => ProbeDevice = () => new ProbeDevice(2)): Promise<Served> {
    const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
    const os = new LinuxOs();
    const place: Place = {
      vhostUser: join(folder, 'attacked-vhost.sock'),
      vfioUser: join(folder, 'attacked-vfio.sock'),
      warnings: [],
      ends: [],
    };
    let served: Served | undefined;
    const first = await serve(make, {
      vhostUser: place.vhostUser,
      vfioUser: place.vfioUser,
      warn: (line) => {
        place.warnings.push(line);
        served?.look();
      },
      gone: (_, error) => {
        place.ends.push(error);
        served?.look();
      },
    });
    const other = join(folder, 'neighbour.sock');
    const second = await serve(() => new ProbeDevice(2), {
      vhostUser: other,
      warn: (line) => assert.fail(line),
    });
    const frontend = new VhostUserFrontend(os.connect(other), { os, clock: os.clock });
    const neighbour = await openDriver(frontend, { id: 63, features: 0n, queues: 2, queueSize: 64 });
    served = new Served(
      folder,
      place,
      () => {
        first.close();
        second.close();
      },
      neighbour,
      os,
    );
    running.add(served);
    await served.roundTrip();
    served.#before = served.descriptors();
    return served;
  }

  /** Descriptors that this process has open. */
  descriptors(): number {
    return readdirSync('/proc/self/fd').length;
  }

  /** Address space of this process, in MiB. */
  addressSpace(): number {
    return Number(/VmSize:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'latin1'))?.[1]) / 1024;
  }

  attacker(): RawFrontend {
    return new RawFrontend(this.os.connect(this.attacked.vhostUser), this.os);
  }

  /** A request of the neighbour's, and its answer. */
  async roundTrip(): Promise<void> {
    const answer = await this.neighbour.queues[0]!.request(Uint8Array.of(1, 2, 3), 3);
    assert.deepEqual([...answer], [1, 2, 3]);
  }

  /** @returns how often the neighbour was served until `done` was. */
  async roundTripsUntil(done: Promise<unknown>): Promise<number> {
    let over = false;
    const settled = done.finally(() => {
      over = true;
    });
    settled.catch(() => {});
    let count = 0;
    while (!over) {
      await this.roundTrip();
      count += 1;
    }
    await settled;
    return count;
  }

  /** Something happened that somebody may wait for. */
  look(): void {
    this.#wake();
  }

  /** Waits until this holds; looked at after each warning and each end. */
  async until(done: () => boolean): Promise<void> {
    while (!done()) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /**
   * Waits, serving the neighbour meanwhile, until no more descriptors are open than before the attack. It can be one less: a connection of the
   * test before may have been about to be closed, on a thread.
   */
  async flat(): Promise<void> {
    while (this.descriptors() > this.#before) await this.roundTrip();
  }

  async close(): Promise<void> {
    running.delete(this);
    await this.neighbour.close();
    this.#close();
    this.os.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
