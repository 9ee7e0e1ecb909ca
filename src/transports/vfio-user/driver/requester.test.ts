import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TransportError } from '../../../virtio/driver-transport.js';
import { FakeClock } from '../../../virtio/testing/fake-clock.js';
import { FakeOs } from '../../testing/fake-os.js';
import { encodeMessage, Framing, type Message } from '../framing.js';
import * as wire from '../messages.js';
import { Requester } from './requester.js';

test('ids go round after 65,536 commands, past those that are still outstanding', async () => {
  const os = new FakeOs();
  const { channel, fd } = os.createChannel();
  const server = os.adoptChannel(fd);
  const framing = new Framing();
  const held: Message[] = [];
  const used = new Set<number>();
  const answer = (message: Message): void =>
    server.send(
      encodeMessage(message.id, message.command, wire.VFIO_USER_F_TYPE_REPLY, [
        new Uint8Array(message.payload.buffer, message.payload.byteOffset, message.payload.byteLength),
      ]),
    );
  server.receive({
    received: (bytes, fds) =>
      framing.push(
        bytes,
        fds,
        (message) => {
          used.add(message.id);
          if (message.command === wire.VFIO_USER_DEVICE_RESET) held.push(message);
          else answer(message);
        },
        () => {},
      ),
    closed: () => {},
  });
  const lost: TransportError[] = [];
  const requester = new Requester(channel, {
    clock: new FakeClock(),
    closeFd: (one) => os.closeFd(one),
    command: () => assert.fail('the server asked nothing'),
    lost: (error) => void lost.push(error),
  });

  let released = false;
  const first = requester.ask(wire.VFIO_USER_DEVICE_RESET).then(() => {
    released = true;
  });
  os.run();
  for (let i = 0; i < 70_000; i++) {
    const asked = requester.ask(wire.VFIO_USER_REGION_READ, [Uint8Array.of(i, i >> 8, i >> 16, 0)]);
    os.run();
    assert.equal((await asked).getUint32(0, true), i);
  }
  assert.equal(used.size, 0x10000);
  assert.equal(released, false);
  answer(held[0]!);
  os.run();
  await first;
  assert.deepEqual(lost, []);
  requester.end(new Error('done') as TransportError);
  server.close();
});
