import assert from 'node:assert/strict';
import { closeSync } from 'node:fs';
import { test } from 'node:test';
import { duplicate } from './duplicate.js';
import { LinuxOs } from './linux-os.js';
import { takeMessage } from './message-socket.js';

/** A connection of which one end is peeked at, by one after the other. */
function connection() {
  const os = new LinuxOs();
  const { channel, fd } = os.createChannel();
  const peek = () => {
    const socket = os.peek(duplicate(fd));
    const seen = { bytes: [] as number[], fds: [] as number[], closed: false };
    let changed = (): void => {};
    socket.receive({
      received(bytes, fds) {
        seen.bytes.push(...bytes);
        seen.fds.push(...fds);
        changed();
      },
      closed() {
        seen.closed = true;
        changed();
      },
    });
    const until = async (there: () => boolean): Promise<void> => {
      while (!there()) await new Promise<void>((resolve) => (changed = resolve));
    };
    return { socket, seen, until };
  };
  return { os, channel, fd, peek };
}

test('each byte is read once, and is there for the next reader until it was taken out', async () => {
  const { os, channel, fd, peek } = connection();
  const first = peek();
  channel.send(Uint8Array.of(1, 2, 3));
  await first.until(() => first.seen.bytes.length === 3);
  channel.send(Uint8Array.of(4, 5));
  await first.until(() => first.seen.bytes.length === 5);
  assert.deepEqual(first.seen.bytes, [1, 2, 3, 4, 5]);
  assert.deepEqual([...takeMessage(fd, 2).bytes], [1, 2]);
  channel.send(Uint8Array.of(6));
  await first.until(() => first.seen.bytes.length === 6);
  first.socket.close();
  const second = peek();
  await second.until(() => second.seen.bytes.length === 4);
  assert.deepEqual(second.seen.bytes, [3, 4, 5, 6]);
  assert.ok(second.socket.take(4));
  assert.throws(() => takeMessage(fd, 1));
  second.socket.close();
  channel.close();
  closeSync(fd);
  os.close();
});

test('descriptors are duplicates: each reader has its own, and who takes the bytes out has them too', async () => {
  const { os, channel, fd, peek } = connection();
  const event = os.createEvent();
  channel.send(Uint8Array.of(1), [event.fd]);
  for (let i = 0; i < 2; i++) {
    const { socket, seen, until } = peek();
    await until(() => seen.fds.length === 1);
    const copy = os.adoptEvent(seen.fds[0]!);
    assert.ok(copy.isSame(event));
    copy.close();
    socket.close();
  }
  const { bytes, fds } = takeMessage(fd, 1);
  assert.deepEqual([...bytes], [1]);
  const copy = os.adoptEvent(fds[0]!);
  assert.ok(copy.isSame(event));
  copy.close();
  event.close();
  channel.close();
  closeSync(fd);
  os.close();
});

test('nothing is read while it is paused; the end comes after the last byte', async () => {
  const { os, channel, fd, peek } = connection();
  const { socket, seen, until } = peek();
  socket.pause();
  channel.send(Uint8Array.of(1));
  channel.close();
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(seen.bytes, []);
  socket.resume();
  await until(() => seen.closed);
  assert.deepEqual(seen.bytes, [1]);
  closeSync(fd);
  os.close();
});
