import assert from 'node:assert/strict';
import type { GuestAddress } from '../../../memory/address.js';
import { type Driver, openDriver } from '../../../virtio/driver.js';
import type { RingPlace, TransportError } from '../../../virtio/driver-transport.js';
import { VIRTIO_F_VERSION_1 } from '../../../virtio/features.js';
import { FakeClock } from '../../../virtio/testing/fake-clock.js';
import { FakeOs } from '../../testing/fake-os.js';
import { serveVhostUser } from '../device/backend.js';
import { type FrontendOptions, VhostUserFrontend } from '../driver/frontend.js';
import { PROTOCOL_F } from '../messages.js';
import type { ProbeDevice } from './probe-device.js';
import { type Script, ScriptedBackend } from './scripted-backend.js';

/** Every protocol feature that is implemented. */
export const ALL: bigint = Object.values(PROTOCOL_F).reduce((all, bit) => all | bit, 0n);

/** Where the areas of a ring of 8 may be; nothing looks at them here. */
export const RING: RingPlace = {
  size: 8,
  descriptorArea: 0x1_0000_0000 as GuestAddress,
  driverArea: 0x1_0000_0100 as GuestAddress,
  deviceArea: 0x1_0000_0200 as GuestAddress,
};

/** Lets the fake operating system work until the promise is settled. */
export async function during<T>(os: FakeOs, promise: Promise<T>): Promise<T> {
  let settled = false;
  const done = (): void => {
    settled = true;
  };
  promise.then(done, done);
  for (let turns = 0; !settled; turns++) {
    assert.ok(turns < 10_000, 'a promise that nobody keeps');
    os.run();
    await Promise.resolve();
  }
  return promise;
}

/** A front-end, and a back-end that says what it is told to. */
export class Pair {
  readonly os: FakeOs = new FakeOs();
  readonly clock: FakeClock = new FakeClock();
  readonly frontend: VhostUserFrontend;
  readonly backend: ScriptedBackend;
  readonly failures: TransportError[] = [];

  constructor(script: Partial<Script> = {}, options: FrontendOptions = {}) {
    const { channel, fd } = this.os.createChannel();
    this.frontend = new VhostUserFrontend(
      channel,
      { os: this.os, clock: this.clock },
      { memorySize: 1 << 20, ...options },
    );
    this.frontend.onFailure((error) => this.failures.push(error));
    const honest = { features: VIRTIO_F_VERSION_1, protocolFeatures: ALL };
    this.backend = new ScriptedBackend(this.os.adoptChannel(fd), this.os, { ...honest, ...script });
  }

  during<T>(promise: Promise<T>): Promise<T> {
    return during(this.os, promise);
  }

  /** What openDriver does, with one queue. */
  async open(): Promise<void> {
    const { frontend } = this;
    await this.during(frontend.reset());
    await this.during(frontend.acceptFeatures(VIRTIO_F_VERSION_1));
    await this.during(frontend.startQueue(0, RING, 0, () => {}));
    await this.during(frontend.start());
  }

  finish(): void {
    this.frontend.close();
    this.os.run();
    this.backend.channel.close();
    assert.equal(this.os.openFds, 0);
    assert.equal(this.os.openMappings, 0);
    assert.equal(this.clock.open, 0);
  }
}

/** A driver on one side, our own back-end with a device on the other. */
export async function openProbe(
  device: ProbeDevice,
  warn: (line: string) => void = (line) => assert.fail(line),
  inband = false,
): Promise<{
  os: FakeOs;
  clock: FakeClock;
  driver: Driver;
  frontend: VhostUserFrontend;
  hangUp: () => void;
}> {
  const os = new FakeOs();
  const clock = new FakeClock();
  const { channel, fd } = os.createChannel();
  const environment = {
    os,
    clock,
    defer: os.defer,
    print: () => {},
    warn,
    inband,
  };
  const session = serveVhostUser(os.adoptChannel(fd), device, environment, () => {});
  const frontend = new VhostUserFrontend(
    channel,
    { os, clock },
    { memorySize: 1 << 20, queueSize: 64, inband },
  );
  const driver = await during(os, openDriver(frontend, { id: 63, features: 0b11n, queues: 2 }));
  return { os, clock, driver, frontend, hangUp: () => session.close() };
}
