import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Driver, openDriver } from '../../../virtio/driver.js';
import { ALL_RING_FEATURES, RING_FEATURES, VIRTIO_F_VERSION_1 } from '../../../virtio/features.js';
import type { RingFeatures } from '../../../virtio/ring-features.js';
import { FakeClock } from '../../../virtio/testing/fake-clock.js';
import { OsError } from '../../os-error.js';
import type { Channel } from '../../ports.js';
import type { Session } from '../../session.js';
import { FakeOs } from '../../testing/fake-os.js';
import { serveVhostUser } from '../device/backend.js';
import { PROTOCOL_F, REQUEST } from '../messages.js';
import { decodeInflight, encodeInflight } from '../payloads.js';
import { during } from '../testing/frontend-bench.js';
import { ProbeDevice } from '../testing/probe-device.js';
import { type Script, ScriptedBackend } from '../testing/scripted-backend.js';
import { type FrontendOptions, VhostUserFrontend } from './frontend.js';

/** A socket, a driver that reconnects, and devices that come and go. */
class Scene {
  readonly os: FakeOs = new FakeOs();
  readonly clock: FakeClock = new FakeClock();
  readonly warnings: string[] = [];
  readonly frontend: VhostUserFrontend;
  readonly devices: ProbeDevice[] = [];
  dials = 0;
  /** Whether anybody listens. */
  listening = true;
  offered: bigint = ALL_RING_FEATURES;
  hold = false;
  #session: Session | undefined;

  constructor(options: FrontendOptions = { reconnect: 5000 }) {
    const dial = (): Channel => this.#dial();
    const environment = { os: this.os, clock: this.clock, dial };
    this.frontend = new VhostUserFrontend(dial(), environment, {
      memorySize: 1 << 18,
      queueSize: 64,
      ...options,
    });
  }

  get device(): ProbeDevice {
    return this.devices.at(-1)!;
  }

  open(ringFeatures: RingFeatures = {}, queues = 2): Promise<Driver> {
    return this.during(
      openDriver(this.frontend, { id: 63, features: 0b11n, queues, queueSize: 16, ringFeatures }),
    );
  }

  during<T>(promise: Promise<T>): Promise<T> {
    return during(this.os, promise);
  }

  /** The device is gone, with all that it held. */
  kill(): void {
    this.#session?.close();
    this.#session = undefined;
  }

  /** Lets time and everything else pass until this holds. */
  async until(done: () => boolean): Promise<void> {
    for (let turns = 0; !done(); turns++) {
      assert.ok(turns < 2000, 'it does not come to that');
      this.os.run();
      await new Promise(setImmediate);
      this.clock.advance(5e6);
    }
  }

  finish(): void {
    this.kill();
    this.frontend.close();
    this.os.run();
    assert.equal(this.os.openFds, 0);
    assert.equal(this.os.openMappings, 0);
    assert.equal(this.clock.open, 0);
  }

  #dial(): Channel {
    this.dials += 1;
    if (!this.listening) throw new OsError('ECONNREFUSED', 'connect', 'connect');
    const { channel, fd } = this.os.createChannel();
    const device = new ProbeDevice(2);
    device.hold = this.hold;
    this.devices.push(device);
    const environment = {
      os: this.os,
      clock: this.clock,
      defer: this.os.defer,
      print: () => {},
      warn: (line: string) => void this.warnings.push(line),
      ringFeatures: this.offered,
    };
    this.#session = serveVhostUser(this.os.adoptChannel(fd), device, environment, () => {});
    return channel;
  }
}

const RINGS: readonly RingFeatures[] = [
  { packed: false, inOrder: false },
  { packed: true, inOrder: false },
  { packed: false, inOrder: true },
  { packed: true, inOrder: true, eventIdx: false, indirectDesc: false },
];

for (const features of RINGS) {
  test(`SET_INFLIGHT_FD: what a device held that is gone is answered by the next, and what came meanwhile: ${JSON.stringify(features)}`, async () => {
    const scene = new Scene();
    const driver = await scene.open(features);
    const [one, other] = driver.queues;
    assert.deepEqual([...(await scene.during(one!.request(Uint8Array.of(1), 1)))], [1]);
    scene.device.hold = true;
    scene.hold = true;
    const asked = [2, 3, 4].map((byte) => (byte === 3 ? other! : one!).request(Uint8Array.of(byte), 1));
    await scene.until(() => scene.device.held === 3);
    for (let life = 1; life < 4; life++) {
      scene.kill();
      scene.os.run();
      asked.push(one!.request(Uint8Array.of(10 + life), 1));
      await scene.until(() => scene.device.held === 3 + life && scene.devices.length === 1 + life);
    }
    scene.device.finish();
    const answers = await scene.during(Promise.all(asked));
    assert.deepEqual(
      answers.map(([byte]) => byte),
      [2, 3, 4, 11, 12, 13],
    );
    assert.deepEqual(scene.warnings, []);
    scene.device.hold = false;
    await scene.during(driver.close());
    scene.finish();
  });
}

test('the configuration space is read from the next device, when the last one died before it answered', async () => {
  const scene = new Scene();
  const driver = await scene.open();
  scene.kill();
  const reading = driver.readConfig(0, 4);
  scene.listening = false;
  await scene.until(() => scene.dials > 4);
  const later = driver.writeConfig(4, Uint8Array.of(1));
  scene.listening = true;
  await scene.until(() => scene.devices.length === 2);
  assert.deepEqual([...(await scene.during(reading))], [0, 0, 0, 0]);
  await scene.during(later);
  assert.deepEqual(scene.device.calls.slice(-1), ['config 4+1']);
  await scene.during(driver.close());
  scene.finish();
});

test('a back-end that does not come back in time is lost, with why', async () => {
  const scene = new Scene({ reconnect: 1000 });
  const driver = await scene.open();
  scene.device.hold = true;
  const asked = driver.queues[0]!.request(Uint8Array.of(1), 1);
  asked.catch(() => {});
  scene.listening = false;
  scene.kill();
  const begun = scene.clock.now();
  let lost: Error | undefined;
  void driver.failure.then((error) => {
    lost = error;
  });
  await scene.until(() => lost !== undefined);
  assert.match(lost!.message, /gone, and no other came within 1 s: .*ECONNREFUSED/);
  assert.ok(scene.clock.now() - begun >= 1e9);
  await assert.rejects(asked, { code: 'LOST' });
  await assert.rejects(scene.during(driver.readConfig(0, 1)), { code: 'LOST' });
  await scene.during(driver.close());
  scene.finish();
});

test('another device that does not offer what was negotiated is not gone on with', async () => {
  const scene = new Scene();
  const driver = await scene.open({ packed: true });
  scene.offered = RING_FEATURES;
  scene.kill();
  const error = await Promise.race([driver.failure, scene.until(() => false)]).catch((reason) => reason);
  assert.match((error as Error).message, /does not offer the features 0x[0-9a-f]*[cdef]00000000/);
  await scene.during(driver.close());
  scene.finish();
});

test('a driver that is closed while its device is away waits for nobody', async () => {
  const scene = new Scene({ reconnect: true });
  const driver = await scene.open();
  scene.listening = false;
  scene.kill();
  await scene.until(() => scene.dials > 3);
  await scene.during(driver.close());
  const { dials } = scene;
  scene.clock.advance(1e10);
  scene.os.run();
  assert.equal(scene.dials, dials);
  scene.finish();
});

test('a driver that is closed while it gets to know the next device waits for nobody', async () => {
  const scene = new Scene({ reconnect: true });
  const driver = await scene.open();
  scene.kill();
  scene.os.run();
  await Promise.resolve();
  assert.equal(scene.dials, 2);
  await scene.during(driver.close());
  scene.finish();
});

test('a device that is lost before it was ready, or without being told to reconnect, is lost', async () => {
  const scene = new Scene({});
  const driver = await scene.open();
  scene.kill();
  scene.os.run();
  assert.equal(((await driver.failure) as { code?: string }).code, 'LOST');
  assert.equal(scene.dials, 1);
  await scene.during(driver.close());
  scene.finish();

  const early = new Scene();
  await early.during(early.frontend.reset());
  early.kill();
  early.os.run();
  await assert.rejects(early.during(early.frontend.acceptFeatures(VIRTIO_F_VERSION_1)), { code: 'LOST' });
  assert.equal(early.dials, 1);
  early.finish();
});

test('what makes no time to be away is refused', () => {
  for (const reconnect of [0, -1, Number.NaN]) {
    assert.throws(() => new Scene({ reconnect }), /may be gone for .* ms: say some, or true/);
  }
});

const ALL = Object.values(PROTOCOL_F).reduce((all, bit) => all | bit, 0n);

async function withScript(script: Partial<Script>): Promise<{ error: unknown; backend: ScriptedBackend }> {
  const os = new FakeOs();
  const clock = new FakeClock();
  const { channel, fd } = os.createChannel();
  const honest = { features: VIRTIO_F_VERSION_1, protocolFeatures: ALL };
  const backend = new ScriptedBackend(os.adoptChannel(fd), os, { ...honest, ...script });
  const frontend = new VhostUserFrontend(
    channel,
    { os, clock, dial: () => assert.fail('dialled') },
    { memorySize: 1 << 18, queueSize: 16, reconnect: true },
  );
  const error = await during(
    os,
    openDriver(frontend, { id: 63, features: 0n, queues: 1, queueSize: 8 }).then(
      () => undefined,
      (reason: unknown) => reason,
    ),
  );
  frontend.close();
  os.run();
  backend.channel.close();
  assert.equal(os.openFds, 0);
  assert.equal(os.openMappings, 0);
  return { error, backend };
}

test('GET_INFLIGHT_FD: a back-end that has no region, or sends what is none, can not be reconnected to, and is refused', async () => {
  const none = await withScript({ protocolFeatures: ALL & ~PROTOCOL_F.INFLIGHT_SHMFD });
  assert.match(`${none.error}`, /does not keep what is in flight \(INFLIGHT_SHMFD\)/);
  assert.ok(!none.backend.requests.includes(REQUEST.GET_INFLIGHT_FD));
  for (const reply of [
    new Uint8Array(24),
    new Uint8Array(),
    // Some bytes, and no descriptor.
    encodeInflight({ mmapSize: 4096, mmapOffset: 0, queues: 1, queueSize: 16 }),
  ]) {
    const { error, backend } = await withScript({
      reply: ({ request }) => (request === REQUEST.GET_INFLIGHT_FD ? reply : undefined),
    });
    assert.match(`${error}`, /has no inflight region/);
    const asked = backend.heard.find(({ request }) => request === REQUEST.GET_INFLIGHT_FD)!;
    assert.deepEqual(decodeInflight(asked.payload), { mmapSize: 0, mmapOffset: 0, queues: 1, queueSize: 16 });
  }
});

test('GET_INFLIGHT_FD: a front-end that is closed at any moment of its start keeps nothing', async () => {
  for (let turns = 0; turns < 120; turns++) {
    const scene = new Scene();
    const opening = openDriver(scene.frontend, { id: 63, features: 0n, queues: 1, queueSize: 16 });
    const outcome = opening.then(
      (driver) => driver.close(),
      () => {},
    );
    for (let turn = 0; turn < turns; turn++) {
      if (turn % 3 === 0) scene.os.run();
      await Promise.resolve();
    }
    scene.frontend.close();
    await scene.during(outcome);
    scene.finish();
  }
});

test('GET_INFLIGHT_FD: each life of the device has a new region', async () => {
  const scene = new Scene();
  const driver = await scene.open({ packed: true });
  scene.device.hold = true;
  const forgotten = driver.queues[0]!.request(Uint8Array.of(9), 1);
  forgotten.catch(() => {});
  await scene.until(() => scene.device.held === 1);
  scene.device.yields = true;
  // As a machine that is reset: the same front-end, and another driver.
  await scene.during(scene.frontend.reset());
  const again = await scene.open({ packed: false });
  scene.device.hold = false;
  assert.deepEqual([...(await scene.during(again.queues[0]!.request(Uint8Array.of(1), 1)))], [1]);
  scene.kill();
  await scene.until(() => scene.devices.length === 2);
  assert.deepEqual([...(await scene.during(again.queues[0]!.request(Uint8Array.of(2), 1)))], [2]);
  assert.deepEqual(scene.warnings, []);
  await scene.during(again.close());
  scene.finish();
});

test('GET_VRING_BASE_SKIP_DRAIN: our front-end stops a queue without waiting, and it goes on with what was in flight', async () => {
  const scene = new Scene();
  const driver = await scene.open({ packed: false }, 1);
  scene.device.hold = true;
  const asked = [1, 2].map((byte) => driver.queues[0]!.request(Uint8Array.of(byte), 1));
  await scene.until(() => scene.device.held === 2);
  const base = await scene.during(scene.frontend.stopQueue(0, { drain: false }));
  assert.equal(base, 2);
  scene.device.hold = false;
  scene.device.giveUp();
  await scene.during(scene.frontend.start());
  const answers = await scene.during(Promise.all(asked));
  assert.deepEqual(
    answers.map(([byte]) => byte),
    [1, 2],
  );
  await scene.during(driver.close());
  scene.finish();
});
