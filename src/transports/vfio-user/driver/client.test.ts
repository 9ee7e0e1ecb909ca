import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Driver, openDriver } from '../../../virtio/driver.js';
import { type DriverTransport, TransportError } from '../../../virtio/driver-transport.js';
import { FakeClock } from '../../../virtio/testing/fake-clock.js';
import { ProbeDevice } from '../../pci/testing/probe-device.js';
import { type FakeChannel, FakeOs } from '../../testing/fake-os.js';
import * as codec from '../codec.js';
import { encodeDmaAccess } from '../codec.js';
import { type VfioUserOptions, vfioUser } from '../device/server.js';
import { encodeMessage, Framing, type Message } from '../framing.js';
import * as wire from '../messages.js';
import { openVfioUser, type VfioUserClientOptions } from './client.js';
import { Requester } from './requester.js';
import { ServerDoorbells } from './server-doorbells.js';

const WANTS = { id: 70, features: 0x5n, queues: 2, queueSize: 8 };

/** A client and our server, over a fake operating system. */
class Pair {
  readonly os: FakeOs = new FakeOs();
  readonly clock: FakeClock = new FakeClock();
  readonly device: ProbeDevice = new ProbeDevice();
  readonly warnings: string[] = [];
  readonly client: FakeChannel;
  readonly server: FakeChannel;

  constructor(options: VfioUserOptions = {}) {
    const { channel, fd } = this.os.createChannel();
    this.client = channel;
    this.server = this.os.adoptChannel(fd);
    vfioUser(options)(
      this.server,
      this.device,
      {
        os: this.os,
        clock: this.clock,
        defer: this.os.defer,
        print: () => {},
        warn: (line) => void this.warnings.push(line),
      },
      () => {},
    );
  }

  open(options: VfioUserClientOptions = {}): Promise<DriverTransport> {
    return openVfioUser(this.client, this, { memorySize: 1 << 16, ...options });
  }

  /** Lets both sides work until the promise is settled. */
  during<T>(promise: Promise<T>): Promise<T> {
    return during(this.os, promise);
  }

  finish(): void {
    this.os.run();
    assert.equal(this.os.openFds, 0);
    assert.equal(this.os.openMappings, 0);
    assert.equal(this.clock.open, 0);
  }
}

/** A client whose server says what it is told to. */
class Scripted {
  readonly os: FakeOs = new FakeOs();
  readonly clock: FakeClock = new FakeClock();
  readonly client: FakeChannel;
  readonly server: FakeChannel;
  /** What came from the client. */
  readonly messages: Message[] = [];

  constructor(answer: (message: Message, server: FakeChannel) => void) {
    const { channel, fd } = this.os.createChannel();
    this.client = channel;
    this.server = this.os.adoptChannel(fd);
    const framing = new Framing();
    this.server.receive({
      received: (bytes, fds) =>
        framing.push(
          bytes,
          fds,
          (message) => {
            for (const one of message.fds) this.os.closeFd(one);
            this.messages.push(message);
            answer(message, this.server);
          },
          () => {},
        ),
      closed: () => this.server.close(),
    });
  }

  async failure(): Promise<TransportError> {
    try {
      await during(this.os, openVfioUser(this.client, this, { memorySize: 4096 }));
    } catch (error) {
      assert.ok(error instanceof TransportError, String(error));
      this.os.run();
      this.server.close();
      assert.equal(this.os.openFds, 0);
      assert.equal(this.os.openMappings, 0);
      assert.equal(this.clock.open, 0);
      return error;
    }
    return assert.fail('it was opened');
  }
}

async function during<T>(os: FakeOs, promise: Promise<T>): Promise<T> {
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

function reply(message: Message, ...pieces: Uint8Array[]): Uint8Array {
  return encodeMessage(message.id, message.command, wire.VFIO_USER_F_TYPE_REPLY, pieces);
}

const VERSION = new Uint8Array(4);

for (const [name, options, server] of [
  ['shared memory', {}, {}],
  ['memory by messages', { shareMemory: false }, {}],
  ['INTx', {}, { vectors: 0 }],
  ['MSI-X that the driver does not want', { vectors: 0 }, {}],
] as [string, VfioUserClientOptions, VfioUserOptions][]) {
  test(`a device is found, used and let go, with ${name}`, async () => {
    const pair = new Pair(server);
    const transport = await pair.during(pair.open(options));
    assert.equal(transport.deviceId, 70);
    // At both ends.
    assert.equal(pair.os.openMappings, options.shareMemory === false ? 0 : 2);
    const driver = await pair.during(openDriver(transport, WANTS));
    for (let i = 0; i < 30; i++) {
      const answer = await pair.during(driver.queues[i % 2]!.request(Uint8Array.of(i, 2), 2));
      assert.deepEqual(answer, Uint8Array.of(2, i));
    }
    let changes = 0;
    driver.onConfigChange(() => {
      changes += 1;
    });
    pair.device.host!.configChanged();
    await pair.during(driver.readConfig(0, 4));
    pair.os.run();
    await Promise.resolve();
    assert.equal(changes, 1);
    await pair.during(driver.close());
    assert.deepEqual(pair.warnings, []);
    pair.finish();
  });
}

test('a server that goes: all that is outstanding rejects, and the driver hears of it once', async () => {
  const pair = new Pair();
  const transport = await pair.during(pair.open());
  const driver = await pair.during(openDriver(transport, WANTS));
  pair.device.queueNotified = () => {};
  const outstanding = [
    driver.queues[0]!.request(Uint8Array.of(1), 1),
    driver.queues[1]!.request(Uint8Array.of(1), 1),
    driver.readConfig(0, 4),
    driver.writeConfig(8, Uint8Array.of(1)),
  ];
  pair.server.close();
  const results = await pair.during(Promise.allSettled(outstanding));
  for (const result of results) {
    assert.equal(result.status, 'rejected');
    assert.equal((result.reason as TransportError).code, 'LOST');
  }
  assert.match((await driver.failure).message, /vfio-user server is gone/);
  await assert.rejects(transport.readConfig(0, 4), TransportError);
  await pair.during(driver.close());
});

test('a server that says nothing for 10 seconds is given up', async () => {
  const scripted = new Scripted(() => {});
  const opening = scripted.failure();
  scripted.os.run();
  scripted.clock.advance(9_999e6);
  scripted.os.run();
  scripted.clock.advance(1e6);
  const error = await opening;
  assert.equal(error.code, 'TIMEOUT');
  assert.match(error.message, /10000 ms/);
});

test('answers that can’t be are refused, each with what was wrong', async () => {
  const cases: [(message: Message) => Uint8Array, string, RegExp][] = [
    [(m) => reply(m), 'PROTOCOL', /answered VERSION wrongly: VERSION has 0 bytes/],
    [(m) => reply(m, Uint8Array.of(1, 0, 0, 0)), 'REFUSED', /version 1\.0/],
    [(m) => reply(m, Uint8Array.of(0, 0, 0, 0, 0x7b, 0)), 'PROTOCOL', /no JSON/],
    [(m) => encodeMessage(m.id ^ 1, m.command, 1), 'PROTOCOL', /answered VERSION, which nobody asked/],
    [(m) => encodeMessage(m.id, 5, 1), 'PROTOCOL', /which nobody asked/],
    [(m) => encodeMessage(m.id, m.command, 2), 'PROTOCOL', /flags 0x2/],
    [(m) => encodeMessage(m.id, m.command, 0x21, [], 13), 'REFUSED', /refused VERSION: errno 13/],
    [() => new Uint8Array(16), 'PROTOCOL', /a message of 0 bytes/],
  ];
  for (const [answer, code, pattern] of cases) {
    const error = await new Scripted((message, server) => server.send(answer(message))).failure();
    assert.equal(error.code, code, error.message);
    assert.match(error.message, pattern);
  }
});

test('a device that is no PCI device is refused', async () => {
  const error = await new Scripted((message, server) => {
    const info = new Uint8Array(16);
    const payload = message.command === wire.VFIO_USER_DEVICE_GET_INFO ? info : VERSION;
    server.send(reply(message, payload));
  }).failure();
  assert.equal(error.code, 'REFUSED');
  assert.match(error.message, /no PCI device/);
});

test('descriptors that come with answers are closed', async () => {
  const scripted: Scripted = new Scripted((message, server) => {
    const fds = [scripted.os.createOther(), scripted.os.createOther()];
    server.send(reply(message, Uint8Array.of(9, 0, 0, 0)), fds);
    for (const fd of fds) scripted.os.closeFd(fd);
  });
  assert.equal((await scripted.failure()).code, 'REFUSED');
});

test('a server reaches the memory that it was shown, and nothing else', async () => {
  const pair = new Pair();
  const transport = await pair.during(pair.open({ shareMemory: false }));
  const answers: Message[] = [];
  const start = transport.memory.regions[0]!.start;
  const size = transport.memory.regions[0]!.view.length;
  const framing = new Framing();
  const ask = (command: number, payload: Uint8Array, flags = 0): Message | undefined => {
    answers.length = 0;
    // The server's own reading is stood in for.
    pair.server.receive({
      received: (bytes, fds) =>
        framing.push(
          bytes,
          fds,
          (message) => void answers.push(message),
          () => {},
        ),
      closed: () => {},
    });
    pair.server.send(encodeMessage(7, command, flags, [payload]));
    pair.os.run();
    return answers[0];
  };
  const write = (address: number, ...bytes: number[]): Uint8Array =>
    new Uint8Array([...encodeDmaAccess(address, bytes.length), ...bytes]);
  assert.equal(ask(wire.VFIO_USER_DMA_WRITE, write(start + 8, 1, 2, 3))!.error, 0);
  const read = ask(wire.VFIO_USER_DMA_READ, encodeDmaAccess(start + 7, 5))!;
  assert.deepEqual([...new Uint8Array(read.payload.buffer, 16)], [0, 1, 2, 3, 0]);
  assert.equal(read.id, 7);
  for (const [command, payload, errno] of [
    [wire.VFIO_USER_DMA_READ, encodeDmaAccess(start + size - 2, 4), 14],
    [wire.VFIO_USER_DMA_READ, encodeDmaAccess(0, 4), 14],
    [wire.VFIO_USER_DMA_WRITE, write(start + size - 1, 1, 2), 14],
    [wire.VFIO_USER_DMA_READ, encodeDmaAccess(start, 0x10_0001), 7],
    [wire.VFIO_USER_DMA_READ, new Uint8Array(16).fill(0xff), 7],
    [wire.VFIO_USER_DMA_READ, new Uint8Array(15), 22],
    [wire.VFIO_USER_DMA_WRITE, encodeDmaAccess(start, 4), 22],
    [wire.VFIO_USER_DEVICE_RESET, new Uint8Array(), 38],
  ] as [number, Uint8Array, number][]) {
    assert.equal(ask(command, payload)!.error, errno);
  }
  const quiet = ask(wire.VFIO_USER_DMA_READ, encodeDmaAccess(start, 1), wire.VFIO_USER_F_NO_REPLY);
  assert.equal(quiet, undefined);
  transport.close();
});

test('whatever a server changes in what it sends, opening succeeds or fails with a TransportError, and nothing leaks', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(160), fc.nat(80), fc.nat(255)), { minLength: 1, maxLength: 4 }),
      fc.boolean(),
      async (changes, shareMemory) => {
        const pair = new Pair();
        const send = pair.server.send.bind(pair.server);
        let sent = 0;
        pair.server.send = (bytes, fds) => {
          const spoilt = bytes.slice();
          for (const [which, offset, value] of changes) {
            if (which === sent && offset < spoilt.length) spoilt[offset] = value;
          }
          sent += 1;
          send(spoilt, fds);
        };
        const opening = pair.open({ shareMemory }).then((transport) => openDriver(transport, WANTS));
        // A server that leaves a message unfinished is given up after a while.
        let settled = false;
        const done = (): void => {
          settled = true;
        };
        opening.then(done, done);
        for (let turns = 0; !settled && turns < 2000; turns++) {
          pair.os.run();
          await Promise.resolve();
          if (turns > 1000) pair.clock.advance(1e9);
        }
        let driver: Driver | undefined;
        try {
          driver = await opening;
        } catch (error) {
          assert.ok(error instanceof TransportError, String(error));
        }
        if (driver !== undefined) {
          const closing = driver.close();
          for (let turns = 0; turns < 300; turns++) {
            pair.os.run();
            await Promise.resolve();
            pair.clock.advance(1e8);
          }
          await closing;
        }
        pair.finish();
      },
    ),
    { numRuns: 300 },
  );
});

test('doorbells: kicks are eventfds once the server has given them, and messages before', async () => {
  const pair = new Pair();
  const transport = await pair.during(pair.open({ doorbells: true }));
  const driver = await pair.during(openDriver(transport, WANTS));
  for (let i = 0; i < 3; i++) {
    await pair.during(Promise.all(driver.queues.map((queue) => queue.request(Uint8Array.of(i, 2), 2))));
  }
  const { sends } = pair.os;
  for (let i = 0; i < 20; i++) {
    const answer = await pair.during(driver.queues[i % 2]!.request(Uint8Array.of(i, 2), 2));
    assert.deepEqual(answer, Uint8Array.of(2, i));
  }
  assert.equal(pair.os.sends, sends, 'not a message');
  await pair.during(driver.close());
  pair.finish();
  assert.deepEqual(pair.warnings, []);
});

test('doorbells: a server that has none, or whose answer makes no sense, gets messages', async () => {
  const { size } = wire.SUB_REGION;
  const part = (fdIndex: number, type = 0): Uint8Array => {
    const bytes = codec.encodeRegionIoFds(0, [{ offset: 0x44, size: 0, fdIndex }], 4096);
    new DataView(bytes.buffer).setUint32(16 + wire.SUB_REGION.type, type, true);
    return bytes;
  };
  const short = codec.encodeRegionIoFds(0, [{ offset: 0x44, size: 0, fdIndex: 0 }], 4096);
  for (const answer of [
    codec.encodeRegionIoFds(0, [], 4096),
    part(7),
    part(0, 1),
    part(0),
    new Uint8Array(3),
    short.slice(0, 16 + size - 1),
    undefined,
  ]) {
    const os = new FakeOs();
    const { channel, fd } = os.createChannel();
    const server = os.adoptChannel(fd);
    const framing = new Framing();
    const commands: number[] = [];
    server.receive({
      received: (bytes, fds) =>
        framing.push(
          bytes,
          fds,
          (message) => {
            commands.push(message.command);
            if (message.command !== wire.VFIO_USER_DEVICE_GET_REGION_IO_FDS) return;
            const flags = wire.VFIO_USER_F_TYPE_REPLY | (answer === undefined ? wire.VFIO_USER_F_ERROR : 0);
            // No eventfd.
            const other = os.createOther();
            server.send(encodeMessage(message.id, message.command, flags, answer ? [answer] : []), [other]);
            os.closeFd(other);
          },
          () => {},
        ),
      closed: () => {},
    });
    const ends: Error[] = [];
    const requester = new Requester(channel, {
      clock: new FakeClock(),
      closeFd: (each) => os.closeFd(each),
      command: () => {},
      lost: (error) => void ends.push(error),
    });
    const bells = new ServerDoorbells(os, requester);
    for (let i = 0; i < 3; i++) {
      assert.equal(bells.ring(0, 0x44, 2), false);
      os.run();
      for (let turn = 0; turn < 5; turn++) await Promise.resolve();
      os.run();
    }
    assert.deepEqual(ends, []);
    bells.close();
    requester.end(new TransportError('LOST', 'the end'));
    server.close();
    os.run();
    assert.equal(os.openFds, 0);
  }
});
