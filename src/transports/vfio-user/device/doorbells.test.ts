import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ProbeDevice } from '../../pci/testing/probe-device.js';
import * as codec from '../codec.js';
import type { Message } from '../framing.js';
import * as wire from '../messages.js';
import { RawClient } from '../testing/raw-client.js';
import { NOTIFY, RawDriver } from '../testing/raw-driver.js';
import { ERRNO } from '../vfio-user-error.js';

const COMMAND = wire.VFIO_USER_DEVICE_GET_REGION_IO_FDS;

/** @param fds - how many descriptors the client takes in one message. */
function connected(device: ProbeDevice, fds?: number): RawClient {
  const client = new RawClient(device);
  const capabilities = fds === undefined ? {} : { max_msg_fds: fds };
  const json = new TextEncoder().encode(`${JSON.stringify({ capabilities })}\0`);
  client.ask(wire.VFIO_USER_VERSION, new Uint8Array([0, 0, 0, 0, ...json]));
  client.keepsFds = true;
  return client;
}

function ask(client: RawClient, region = 0, room = 4096): Message {
  return client.ask(COMMAND, codec.encodeIndex(region, COMMAND, room));
}

test('each queue has a doorbell where its notification register is: ringing is a kick', () => {
  const device = new ProbeDevice(3);
  const client = connected(device, 8);
  const driver = new RawDriver(client, true);
  driver.start();
  const { payload, fds } = ask(client);
  assert.deepEqual(
    codec.decodeRegionIoFds(payload).parts,
    [0, 1, 2].map((i) => ({ offset: NOTIFY + 4 * i, size: 0, fdIndex: i })),
  );
  assert.equal(fds.length, 3);
  driver.add(Uint8Array.of(1, 2), 2);
  device.calls.length = 0;
  const bell = client.os.adoptEvent(fds[0]!);
  bell.signal();
  bell.signal();
  client.os.run();
  assert.deepEqual(driver.receive(), Uint8Array.of(2, 1));
  assert.deepEqual(device.calls, ['notified 0']);
  // A message does as well, and so does a doorbell that was asked for once more.
  assert.deepEqual(driver.request(Uint8Array.of(3), 1), Uint8Array.of(3));
  const again = ask(client);
  driver.add(Uint8Array.of(4), 1);
  client.os.adoptEvent(again.fds[0]!).signal();
  client.os.run();
  assert.deepEqual(driver.receive(), Uint8Array.of(4));
});

test('a client that takes fewer descriptors than there are queues gets some for several: each rings for all of its own', () => {
  const device = new ProbeDevice(5);
  const client = connected(device, 2);
  const driver = new RawDriver(client, true);
  driver.start();
  const { payload, fds } = ask(client);
  const indices = codec.decodeRegionIoFds(payload).parts!.map(({ fdIndex }) => fdIndex);
  assert.deepEqual(indices, [0, 1, 0, 1, 0]);
  assert.equal(fds.length, 2);
  driver.add(Uint8Array.of(9), 1);
  client.os.adoptEvent(fds[0]!).signal();
  client.os.run();
  assert.deepEqual(driver.receive(), Uint8Array.of(9));
  // One that says nothing takes one; more than 16 are never sent.
  assert.equal(ask(connected(new ProbeDevice(3))).fds.length, 1);
  assert.equal(ask(connected(new ProbeDevice(40), 1000)).fds.length, 16);
});

test('a client that takes none has none, and no other region has any', () => {
  const none = ask(connected(new ProbeDevice(), 0));
  assert.deepEqual(codec.decodeRegionIoFds(none.payload), { argsz: 16, parts: [] });
  const client = connected(new ProbeDevice(), 8);
  for (const region of [1, 2, 6, 7, 8]) {
    const { payload, fds } = ask(client, region);
    assert.deepEqual(codec.decodeRegionIoFds(payload), { argsz: 16, parts: [] });
    assert.equal(payload.getUint32(wire.REGION_IO_FDS.index, true), region);
    assert.deepEqual(fds, []);
  }
});

test('with no room for the answer, it says how much that takes, and nothing is sent along', () => {
  const client = connected(new ProbeDevice(3), 8);
  const { payload, fds } = ask(client, 0, 3 * 40 - 1);
  assert.deepEqual(codec.decodeRegionIoFds(payload), { argsz: 16 + 3 * 40, parts: undefined });
  assert.deepEqual(fds, []);
  assert.equal(ask(client, 0, 3 * 40).fds.length, 3);
});

test('what can not be asked is refused', () => {
  const client = connected(new ProbeDevice(), 8);
  const wrong = (change: (payload: DataView) => void, length = 16): number => {
    const payload = codec.encodeIndex(0, COMMAND, 4096).slice(0, length);
    change(new DataView(payload.buffer));
    return client.refused(COMMAND, payload);
  };
  assert.equal(
    wrong(() => {}, 15),
    ERRNO.EINVAL,
  );
  assert.equal(
    wrong((payload) => payload.setUint32(0, 15, true)),
    ERRNO.EINVAL,
    'argsz',
  );
  assert.equal(
    wrong((payload) => payload.setUint32(4, 1, true)),
    ERRNO.EINVAL,
    'flags',
  );
  assert.equal(
    wrong((payload) => payload.setUint32(8, 9, true)),
    ERRNO.EINVAL,
    'index',
  );
  assert.equal(
    wrong((payload) => payload.setUint32(12, 1, true)),
    ERRNO.EINVAL,
    'count',
  );
  const unwanted = client.os.openFds;
  client.send(COMMAND, codec.encodeIndex(0, COMMAND, 4096), [], wire.VFIO_USER_F_NO_REPLY);
  client.os.run();
  assert.equal(client.os.openFds, unwanted, 'nothing is made or sent that nobody hears of');
});

test('a doorbell kicks nobody before the BAR is switched on, or after the client is gone', () => {
  const device = new ProbeDevice();
  const client = connected(device, 8);
  const before = client.os.openFds;
  const bells = ask(client).fds.map((fd) => client.os.adoptEvent(fd));
  bells[0]!.signal();
  client.os.run();
  assert.deepEqual(device.calls, []);
  bells[0]!.signal();
  client.hangUp();
  bells[0]!.signal();
  client.os.run();
  assert.deepEqual(device.calls, ['close']);
  for (const bell of bells) bell.close();
  // Both ends of the socket are gone too.
  assert.equal(client.os.openFds, before - 2);
});
