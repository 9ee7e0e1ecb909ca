import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FrontendAddress, GuestAddress } from '../../../memory/address.js';
import { VIRTIO_F_VERSION_1 } from '../../../virtio/features.js';
import { F_PROTOCOL_FEATURES, PROTOCOL_F, REQUEST } from '../messages.js';
import {
  decodeRegion,
  decodeVringAddress,
  encodeRegions,
  encodeU64,
  encodeVringAddress,
} from '../payloads.js';
import { Bench, GUEST_START, MEMORY_SIZE, USER_START } from '../testing/bench.js';
import { ALL, Pair, RING } from '../testing/frontend-bench.js';
import { ProbeDevice } from '../testing/probe-device.js';

const own = (address: GuestAddress): FrontendAddress => address as number as FrontendAddress;

for (const [how, start] of [
  ['as the guest has them', own(GUEST_START)],
  // Whoever accepts each bit that it sees may not mean it.
  ['as before, by a front-end that accepts it and does not do it', USER_START],
] as const) {
  test(`GPA_ADDRESSES: rings are found where the front-end says, ${how}`, () => {
    const b = new Bench(new ProbeDevice());
    b.say(REQUEST.SET_PROTOCOL_FEATURES, encodeU64(PROTOCOL_F.GPA_ADDRESSES | PROTOCOL_F.REPLY_ACK));
    b.say(REQUEST.SET_FEATURES, encodeU64(F_PROTOCOL_FEATURES));
    const region = { guestAddress: GUEST_START, size: MEMORY_SIZE, userAddress: start, mmapOffset: 0 };
    assert.equal(b.ask(REQUEST.SET_MEM_TABLE, encodeRegions([region]), [b.memoryFd]), 0n);
    const ring = b.ring(0);
    ring.start();
    const place = (address: GuestAddress): FrontendAddress =>
      (start + (address - GUEST_START)) as FrontendAddress;
    const addresses = {
      index: 0,
      flags: 0,
      descriptor: place(ring.queue.descriptorArea),
      available: place(ring.queue.driverArea),
      used: place(ring.queue.deviceArea),
      log: 0 as GuestAddress,
    };
    assert.equal(b.ask(REQUEST.SET_VRING_ADDR, encodeVringAddress(addresses)), 0n);
    ring.enable();
    ring.request(7);
    assert.deepEqual(ring.answers(), [7]);
    assert.deepEqual(b.warnings, []);
    b.close();
    assert.equal(b.os.openFds, 0);
  });
}

test('GPA_ADDRESSES: our front-end says the guest address twice, where the back-end offers it', async () => {
  for (const offered of [true, false]) {
    const protocolFeatures = offered ? ALL : ALL & ~PROTOCOL_F.GPA_ADDRESSES;
    const p = new Pair({ features: VIRTIO_F_VERSION_1, protocolFeatures });
    await p.open();
    const heard = (request: number): DataView => p.backend.heard.find((m) => m.request === request)!.payload;
    const { guestAddress, userAddress } = decodeRegion(heard(REQUEST.ADD_MEM_REG));
    assert.equal((guestAddress as number) === userAddress, offered);
    const { descriptor } = decodeVringAddress(heard(REQUEST.SET_VRING_ADDR));
    assert.equal(descriptor - userAddress, RING.descriptorArea - guestAddress);
    p.finish();
  }
});
