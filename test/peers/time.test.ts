import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FrontendAddress, GuestAddress } from '../../src/memory/address.js';
import * as codec from '../../src/transports/vfio-user/codec.js';
import {
  encodeMessage as encodeVfio,
  Framing,
  type Message,
} from '../../src/transports/vfio-user/framing.js';
import * as wire from '../../src/transports/vfio-user/messages.js';
import { encodeVersion } from '../../src/transports/vfio-user/version.js';
import { encodeMessage } from '../../src/transports/vhost-user/codec.js';
import { REQUEST } from '../../src/transports/vhost-user/messages.js';
import {
  encodeRegion,
  encodeU64,
  encodeVringAddress,
  encodeVringState,
} from '../../src/transports/vhost-user/payloads.js';
import { Served } from './served.js';
import { callsDuring, movedDuring } from './work.js';

/** A vfio-user client that says what it is told to. */
class Client {
  readonly #send: (bytes: Uint8Array) => void;
  readonly close: () => void;
  readonly replies: Message[] = [];
  readonly requests: Message[] = [];
  #wake: () => void = () => {};

  constructor(served: Served) {
    const channel = served.os.connect(served.attacked.vfioUser);
    const framing = new Framing();
    channel.receive({
      received: (bytes, fds) => {
        framing.push(
          bytes,
          fds,
          (message) => {
            const reply = (message.flags & wire.VFIO_USER_F_TYPE_MASK) === wire.VFIO_USER_F_TYPE_REPLY;
            (reply ? this.replies : this.requests).push(message);
          },
          () => {},
        );
        this.#wake();
      },
      closed: () => {},
    });
    this.#send = (bytes) => channel.send(bytes);
    this.close = () => channel.close();
  }

  say(command: number, payload: Uint8Array, flags = 0): void {
    this.#send(encodeVfio(command, command, flags, [payload]));
  }

  /** A register of BAR 0, or of the configuration space. */
  write(offset: number, size: number, value: number, region = 0): void {
    const data = Uint8Array.from({ length: size }, (_, i) => Math.floor(value / 2 ** (8 * i)) % 256);
    const access = codec.encodeRegionAccess({ region, offset, count: size });
    this.say(wire.VFIO_USER_REGION_WRITE, new Uint8Array([...access, ...data]), wire.VFIO_USER_F_NO_REPLY);
  }

  async until(done: () => boolean): Promise<void> {
    while (!done()) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

test('memory by messages: while an answer is owed, others are served as often as they like', async () => {
  const served = await Served.start();
  const client = new Client(served);
  client.say(wire.VFIO_USER_VERSION, encodeVersion());
  client.say(
    wire.VFIO_USER_DMA_MAP,
    codec.encodeDmaMap({ flags: 3, offset: 0, address: 0 as GuestAddress, size: 2 ** 20 }),
  );
  client.write(4, 2, 6, wire.VFIO_PCI_CONFIG_REGION_INDEX);
  for (const status of [0, 3]) client.write(0x14, 1, status);
  client.write(0x08, 4, 1);
  client.write(0x0c, 4, 1);
  client.write(0x14, 1, 0x0b);
  client.write(0x18, 2, 8);
  client.write(0x20, 8, 0x1000);
  client.write(0x28, 8, 0x2000);
  client.write(0x30, 8, 0x3000);
  client.write(0x1c, 2, 1);
  client.write(0x14, 1, 0x0f);
  // The device wants to know whether there is anything in the ring.
  await client.until(() => client.requests.length === 1);
  for (let i = 0; i < 200; i++) await served.roundTrip();
  assert.equal(client.requests.length, 1);
  assert.deepEqual(served.attacked.ends, []);
  client.close();
  await served.until(() => served.attacked.ends.length === 1);
  await served.flat();
  await served.close();
});

test('5,461 messages in one read: others are served before the last of them is', async () => {
  const served = await Served.start();
  const attacker = served.attacker();
  const one = encodeMessage(REQUEST.RESET_DEVICE, 0);
  const many = new Uint8Array(one.length * 5461);
  for (let i = 0; i < 5461; i++) many.set(one, i * one.length);
  for (let i = 0; i < 8; i++) attacker.channel.send(many);
  attacker.send(REQUEST.GET_FEATURES);
  // Eight reads of as many messages: more than a turn for each of them on any machine, and a round trip takes two or three.
  assert.ok((await served.roundTripsUntil(attacker.reply(REQUEST.GET_FEATURES))) >= 4);
  attacker.close();
  await served.flat();
  await served.close();
});

test('32,000 resets in one REGION_WRITE_MULTI: others are served before they are done', async () => {
  const served = await Served.start();
  const client = new Client(served);
  client.say(wire.VFIO_USER_VERSION, encodeVersion());
  client.write(4, 2, 6, wire.VFIO_PCI_CONFIG_REGION_INDEX);
  const reset = { region: 0, offset: 0x14, count: 1, data: Uint8Array.of(0) };
  client.say(wire.VFIO_USER_REGION_WRITE_MULTI, codec.encodeWriteMulti(Array(32_000).fill(reset)));
  client.say(wire.VFIO_USER_REGION_READ, codec.encodeRegionAccess({ region: 0, offset: 0x14, count: 1 }));
  const read = client.until(() =>
    client.replies.some(({ command }) => command === wire.VFIO_USER_REGION_READ),
  );
  assert.ok((await served.roundTripsUntil(read)) >= 10);
  assert.deepEqual(served.attacked.warnings, []);
  client.close();
  await served.flat();
  await served.close();
});

test('55,000 replies that nobody reads wait at the same cost each, and others are served', async () => {
  const served = await Served.start();
  const attacker = served.attacker();
  attacker.channel.pause();
  const one = encodeMessage(REQUEST.GET_FEATURES, 0);
  const many = new Uint8Array(one.length * 5000);
  for (let i = 0; i < 5000; i++) many.set(one, i * one.length);
  const COUNT = 55_000;
  const moved = await movedDuring(async () => {
    for (let i = 0; i < 11; i++) attacker.channel.send(many);
    for (let i = 0; i < 100; i++) await served.roundTrip();
    attacker.channel.resume();
    const all = attacker.until(() => attacker.replies.length === COUNT);
    assert.ok((await served.roundTripsUntil(all)) >= 10);
  });
  // Half of them on average each time, were each taken from the front of an array.
  assert.ok(moved < 100 * COUNT, `${moved} items were moved`);
  attacker.close();
  await served.flat();
  await served.close();
});

test('508 regions of one page each, and descriptors over all of them: they cost what they would over one', async () => {
  const served = await Served.start();
  const attacker = served.attacker();
  const PAGE = 4096;
  const DESCRIPTORS = 64 * 1024;
  const { fd, mapping } = served.os.createMemory('pages', 600 * PAGE);
  attacker.send(REQUEST.SET_FEATURES, encodeU64(1n << 28n));
  for (let i = 0; i < 508; i++) {
    const at = (i + 16) * PAGE;
    const region = {
      guestAddress: at as GuestAddress,
      size: PAGE,
      userAddress: at as FrontendAddress,
      mmapOffset: i * PAGE,
    };
    attacker.send(REQUEST.ADD_MEM_REG, encodeRegion(region), { fds: [fd], needReply: i % 32 === 0 });
    if (i % 32 === 0) await attacker.reply(REQUEST.ADD_MEM_REG);
  }
  const ring = { guestAddress: 0, size: 16 * PAGE };
  const whole = {
    guestAddress: 0 as GuestAddress,
    size: ring.size,
    userAddress: 0 as FrontendAddress,
    mmapOffset: 512 * PAGE,
  };
  attacker.send(REQUEST.ADD_MEM_REG, encodeRegion(whole), { fds: [fd], needReply: true });
  assert.equal((await attacker.reply(REQUEST.ADD_MEM_REG)).getBigUint64(0, true), 0n);
  // 64 heads, each an indirect table of 1,024 descriptors, each over all regions but what would be 4 GiB.
  const { view } = mapping;
  const base = 512 * PAGE;
  for (let i = 0; i < 1024; i++) {
    const at = base + 8 * PAGE + 16 * i;
    view.write32(at, 16 * PAGE);
    view.write32(at + 8, 508 * PAGE);
    view.write32(at + 12, (i < 1023 ? 1 : 0) | ((i + 1) << 16) | 2);
  }
  for (let head = 0; head < 64; head++) {
    view.write32(base + 16 * head, 8 * PAGE);
    view.write32(base + 16 * head + 8, 1024 * 16);
    view.write32(base + 16 * head + 12, 4);
    view.write16(base + 2 * PAGE + 4 + 2 * head, head);
  }
  view.store16(base + 2 * PAGE + 2, 64);
  attacker.send(REQUEST.SET_VRING_NUM, encodeVringState({ index: 0, num: 64 }));
  const user = (at: number): FrontendAddress => at as FrontendAddress;
  const addresses = {
    index: 0,
    flags: 0,
    log: 0 as GuestAddress,
    descriptor: user(0),
    available: user(2 * PAGE),
    used: user(4 * PAGE),
  };
  attacker.send(REQUEST.SET_VRING_ADDR, encodeVringAddress(addresses));
  attacker.send(REQUEST.SET_VRING_KICK, encodeU64(0x100n));
  const before = served.attacked.warnings.length;
  const calls = await callsDuring('/memory/guest-memory.js', async () => {
    attacker.send(REQUEST.SET_VRING_ENABLE, encodeVringState({ index: 0, num: 1 }), { needReply: true });
    assert.equal((await attacker.reply(REQUEST.SET_VRING_ENABLE)).getUint32(0, true), 0);
    while (view.load16(base + 4 * PAGE + 2) !== 64) await served.roundTrip();
  });
  const lookUps = calls.get('#find') ?? 0;
  assert.ok(lookUps >= DESCRIPTORS && lookUps < 4 * DESCRIPTORS, `${lookUps} regions were looked up`);
  assert.equal(served.attacked.warnings.length, before);
  attacker.close();
  served.os.closeFd(fd);
  mapping.release();
  await served.flat();
  await served.close();
});
