import assert from 'node:assert/strict';
import { test } from 'node:test';
import { virtioMisc } from '../../../devices/misc/device.js';
import { MiscDriver } from '../../../devices/misc/driver.js';
import { ConfigSpace } from '../../../virtio/config-space.js';
import type { DeviceQueue, VirtioDevice } from '../../../virtio/device.js';
import { type Driver, openDriver } from '../../../virtio/driver.js';
import { ALL_RING_FEATURES, RING_FEATURES } from '../../../virtio/features.js';
import { FakeClock } from '../../../virtio/testing/fake-clock.js';
import type { Chain } from '../../../virtqueue/chain.js';
import { ProbeDevice } from '../../pci/testing/probe-device.js';
import { type FakeChannel, FakeOs } from '../../testing/fake-os.js';
import { type VfioUserOptions, vfioUser } from '../device/server.js';
import { openVfioUser, type VfioUserClientOptions } from './client.js';
import type { MovableTransport } from './transport.js';

const WANTS = { id: 70, features: 0x5n, queues: 2, queueSize: 8 };

/** Servers and a client in one process. */
class World {
  readonly os: FakeOs = new FakeOs();
  readonly clock: FakeClock = new FakeClock();
  readonly warnings: string[] = [];
  /** Servers whose client is gone. */
  ended = 0;

  /** @returns the client's end of a connection to a server of its own. */
  serve(
    device: VirtioDevice,
    options: VfioUserOptions = {},
    ringFeatures: bigint = RING_FEATURES,
  ): FakeChannel {
    const { channel, fd } = this.os.createChannel();
    vfioUser(options)(
      this.os.adoptChannel(fd),
      device,
      {
        os: this.os,
        clock: this.clock,
        defer: this.os.defer,
        print: () => {},
        warn: (line) => void this.warnings.push(line),
        ringFeatures,
      },
      () => {
        this.ended += 1;
      },
    );
    return channel;
  }

  open(channel: FakeChannel, options: VfioUserClientOptions = {}): Promise<MovableTransport> {
    return this.during(openVfioUser(channel, this, { memorySize: 1 << 16, ...options }));
  }

  /** Lets all sides work until the promise is settled. */
  async during<T>(promise: Promise<T>): Promise<T> {
    let settled = false;
    const done = (): void => {
      settled = true;
    };
    promise.then(done, done);
    for (let turns = 0; !settled; turns++) {
      assert.ok(turns < 10_000, 'a promise that nobody keeps');
      this.os.run();
      await Promise.resolve();
    }
    return promise;
  }

  /** Lets all sides work for a while. */
  async settle(): Promise<void> {
    for (let i = 0; i < 50; i++) {
      this.os.run();
      await Promise.resolve();
    }
  }

  async finish(driver: { close(): Promise<void> }): Promise<void> {
    await this.during(driver.close());
    this.os.run();
    assert.equal(this.os.openFds, 0);
    assert.equal(this.os.openMappings, 0);
    assert.equal(this.clock.open, 0);
  }
}

async function echo(world: World, driver: Driver, from: number, count: number): Promise<void> {
  for (let i = from; i < from + count; i++) {
    const answer = await world.during(driver.queues[i % 2]!.request(Uint8Array.of(i, 2), 2));
    assert.deepEqual(answer, Uint8Array.of(2, i & 0xff));
  }
}

for (const [name, options, server, features] of [
  ['shared memory', {}, {}, RING_FEATURES],
  ['memory by messages', { shareMemory: false }, {}, RING_FEATURES],
  ['INTx', {}, { vectors: 0 }, RING_FEATURES],
  ['doorbells', { doorbells: true }, {}, RING_FEATURES],
  ['packed rings', {}, {}, ALL_RING_FEATURES],
] as [string, VfioUserClientOptions, VfioUserOptions, bigint][]) {
  test(`a device moves from server to server while its driver goes on, with ${name}`, async () => {
    const world = new World();
    const first = new ProbeDevice();
    const transport = await world.open(world.serve(first, server, features), options);
    const driver = await world.during(openDriver(transport, WANTS));
    await world.during(driver.writeConfig(8, Uint8Array.of(1, 2, 3, 4)));
    let changes = 0;
    driver.onConfigChange(() => {
      changes += 1;
    });
    // Round the ring, so that a base of 0 would not do.
    await echo(world, driver, 0, 31);
    let last = first;
    for (let i = 1; i <= 3; i++) {
      const device = new ProbeDevice();
      await world.during(transport.move(world.serve(device, server, features)));
      world.os.run();
      assert.equal(world.ended, i);
      assert.equal(last.calls.at(-1), 'close');
      assert.deepEqual(device.calls.slice(0, 1), ['activate 5'], 'once, with what was negotiated');
      await echo(world, driver, 31 * i, 31);
      const config = await world.during(driver.readConfig(8, 4));
      assert.deepEqual(config, Uint8Array.of(1, 2, 3, 4));
      device.host!.configChanged();
      await world.during(driver.readConfig(0, 4));
      world.os.run();
      assert.equal(changes, i);
      last = device;
    }
    await world.finish(driver);
    assert.deepEqual(world.warnings, []);
  });
}

/** Holds requests for as long as it is told, and hands them back when its queue is to be stopped. */
class Keeper extends ProbeDevice {
  readonly kept: { queue: DeviceQueue; chain: Chain }[] = [];
  keeps = true;

  override queueNotified(queue: DeviceQueue): void {
    for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) this.kept.push({ queue, chain });
  }

  queueStopping(): void {
    if (!this.keeps) this.answer();
  }

  answer(): void {
    for (const { queue, chain } of this.kept.splice(0)) {
      chain.write(chain.readRest().reverse());
      queue.push(chain);
      queue.flush();
    }
  }
}

test('requests in flight are finished first, those that come later wait for the new server, none is lost or done twice', async () => {
  for (const shareMemory of [true, false]) {
    const world = new World();
    const first = new Keeper();
    const transport = await world.open(world.serve(first), { shareMemory });
    const driver = await world.during(openDriver(transport, WANTS));
    const [queue] = driver.queues;
    const requests = [1, 2].map((n) => queue!.request(Uint8Array.of(n, 0), 2));
    await world.settle();
    assert.equal(first.kept.length, 2);
    const second = new ProbeDevice();
    const moved = transport.move(world.serve(second));
    await world.settle();
    assert.equal(second.calls.length, 0, 'it waits for them');
    requests.push(queue!.request(Uint8Array.of(3, 0), 2));
    await world.settle();
    first.answer();
    await world.during(moved);
    const answers = await world.during(Promise.all(requests));
    assert.deepEqual(answers, [Uint8Array.of(0, 1), Uint8Array.of(0, 2), Uint8Array.of(0, 3)]);
    assert.deepEqual(first.kept, []);
    assert.ok(second.calls.includes('notified 0'));
    await world.finish(driver);
    assert.deepEqual(world.warnings, []);
  }
});

test('a device that never finishes is not moved: it goes on where it is', async () => {
  const world = new World();
  const first = new Keeper();
  const transport = await world.open(world.serve(first));
  const driver = await world.during(openDriver(transport, WANTS));
  const request = driver.queues[0]!.request(Uint8Array.of(1, 2), 2);
  await world.settle();
  const moved = transport.move(world.serve(new ProbeDevice()));
  const failed = assert.rejects(moved, { code: 'REFUSED', message: /refused DEVICE_FEATURE: errno 16/ });
  await world.settle();
  world.clock.advance(5e9);
  await world.during(failed);
  assert.match(
    world.warnings.join(),
    /can't be stopped: queue 0 \(queue0\) has requests in flight after 5 s/,
  );
  first.keeps = false;
  first.answer();
  assert.deepEqual(await world.during(request), Uint8Array.of(2, 1));
  const again = new ProbeDevice();
  await world.during(transport.move(world.serve(again)));
  await echo(world, driver, 0, 5);
  await world.finish(driver);
});

test('a server that can not take it, or goes away, leaves it where it was', async () => {
  const world = new World();
  const first = new ProbeDevice();
  const transport = await world.open(world.serve(first));
  const driver = await world.during(openDriver(transport, WANTS));
  await echo(world, driver, 0, 3);
  for (const [other, text] of [
    [world.serve(new ProbeDevice(3)), /refused DEVICE_FEATURE/],
    [world.serve(new ProbeDevice(2, 71)), /refused DEVICE_FEATURE/],
    [world.serve(new ProbeDevice(), { vectors: 2 }), /refused DEVICE_FEATURE/],
  ] as const) {
    await assert.rejects(world.during(transport.move(other)), text);
    await echo(world, driver, 3, 3);
  }
  assert.match(
    world.warnings.join('; '),
    /the state is of probe with 3 vectors and queues of 64 \+ 64, this is probe with 4/,
  );
  const { channel, fd } = world.os.createChannel();
  world.os.closeFd(fd);
  await assert.rejects(world.during(transport.move(channel)), { code: 'LOST' });
  await echo(world, driver, 3, 3);
  const last = new ProbeDevice();
  await world.during(transport.move(world.serve(last)));
  await echo(world, driver, 3, 3);
  await world.finish(driver);
});

test('accesses while it is on its way reach the server where it ends up, and two moves come one after the other', async () => {
  const world = new World();
  const transport = await world.open(world.serve(new ProbeDevice()));
  const driver = await world.during(openDriver(transport, WANTS));
  const devices = [new ProbeDevice(), new ProbeDevice()];
  const moves = devices.map((device) => transport.move(world.serve(device)));
  const written = driver.writeConfig(12, Uint8Array.of(9));
  await world.during(Promise.all([...moves, written]));
  assert.equal(devices[1]!.config.view.getUint8(12), 9);
  await echo(world, driver, 0, 5);
  await world.finish(driver);
});

test('a transport that is closed on the way leaves nothing at either server', async () => {
  for (let turns = 0; turns < 60; turns += 3) {
    const world = new World();
    const transport = await world.open(world.serve(new ProbeDevice()));
    const moved = transport.move(world.serve(new ProbeDevice())).catch(() => {});
    for (let i = 0; i < turns; i++) {
      world.os.run();
      await Promise.resolve();
    }
    transport.close();
    await world.during(moved);
    world.os.run();
    assert.equal(world.os.openFds, 0);
    assert.equal(world.os.openMappings, 0);
    assert.equal(world.clock.open, 0);
  }
});

test('virtio-misc takes its timers along: each expires once, and as late as it would have', async () => {
  const world = new World();
  const transport = await world.open(world.serve(virtioMisc()()), { memorySize: 1 << 20 });
  const misc = await world.during(MiscDriver.open(transport));
  const expired: string[] = [];
  for (const ms of [1, 100, 200]) {
    await world.during(misc.setTimer(ms, (context) => expired.push(String(context)), `after ${ms}`));
  }
  world.clock.advance(1e6);
  world.os.run();
  await world.during(Promise.resolve());
  assert.deepEqual(expired, ['after 1']);
  world.clock.advance(50e6);
  await world.during(transport.move(world.serve(virtioMisc()())));
  world.clock.advance(48e6);
  world.os.run();
  assert.deepEqual(expired, ['after 1'], 'not early');
  world.clock.advance(2e6);
  world.os.run();
  assert.deepEqual(expired, ['after 1', 'after 100']);
  world.clock.advance(100e6);
  world.os.run();
  assert.deepEqual(expired, ['after 1', 'after 100', 'after 200']);
  await world.finish(misc);
});

test('a device whose state has no bytes is not moved, with its place in one line', async () => {
  class Odd extends ProbeDevice {
    override readonly config: ConfigSpace = new ConfigSpace(16, [[8, 16]]);
    save(): unknown {
      return { kept: [() => 1] };
    }
  }
  const world = new World();
  const transport = await world.open(world.serve(new Odd()));
  const driver = await world.during(openDriver(transport, WANTS));
  await assert.rejects(world.during(transport.move(world.serve(new Odd()))), /errno 22/);
  assert.match(
    world.warnings.join(),
    /can't be saved: the state\.\w*\.?kept\[0\] is a function, which has no bytes/,
  );
  await echo(world, driver, 0, 5);
  await world.finish(driver);
});

test('dirty pages, as a client asks for them: what the device writes, once, until it stops', async () => {
  for (const shareMemory of [true, false]) {
    const world = new World();
    const transport = await world.open(world.serve(new ProbeDevice()), { shareMemory });
    const driver = await world.during(openDriver(transport, WANTS));
    await assert.rejects(world.during(transport.takeDirtyPages()), { code: 'REFUSED' });
    await world.during(transport.startLog());
    assert.deepEqual(await world.during(transport.takeDirtyPages()), []);
    await echo(world, driver, 0, 3);
    const pages = await world.during(transport.takeDirtyPages());
    assert.ok(pages.length > 0 && pages.every((page) => page % 4096 === 0 && page >= 0x1_0000_0000));
    assert.deepEqual(await world.during(transport.takeDirtyPages()), []);
    await world.during(transport.stopLog());
    await assert.rejects(world.during(transport.takeDirtyPages()), { code: 'REFUSED' });
    await world.finish(driver);
  }
});
