import assert from 'node:assert/strict';
import { openSync } from 'node:fs';
import { test } from 'node:test';
import type { EventPort } from '../transports/ports.js';
import { closeFd } from './close-fd.js';
import { eventfd, fcntl, write } from './libc.js';
import { NativeBuffer } from './native-buffer.js';
import { freshOs, openDescriptors } from './testing/open-descriptors.js';
import { openPipe } from './testing/open-pipe.js';
import { settled } from './testing/settled.js';
import { pairSockets } from './unix-socket.js';

const F_GETFL = 3;
const F_DUPFD = 0;
const O_NONBLOCK = 0o4000;

const os = freshOs();

/** Counts the rings of an event. */
class Bell {
  rings = 0;
  #wake: () => void = () => {};

  constructor(event: EventPort) {
    event.watch(() => {
      this.rings++;
      this.#wake();
    });
  }

  async next(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
  }
}

test('each signal rings, though nobody reads the count', async () => {
  const event = os().createEvent();
  const bell = new Bell(event);
  for (let i = 0; i < 3; i++) {
    event.signal();
    await bell.next();
  }
  assert.equal(bell.rings, 3);
  event.signal();
  event.signal();
  await bell.next();
  assert.ok(bell.rings <= 5);
  event.close();
});

test('a signal from before it was watched rings', async () => {
  const event = os().createEvent();
  event.signal();
  await new Bell(event).next();
  event.close();
});

test('watching again replaces who is called', async () => {
  const event = os().createEvent();
  const first = new Bell(event);
  const second = new Bell(event);
  event.signal();
  await second.next();
  assert.equal(first.rings, 0);
  event.close();
});

test('a regular file is refused and closed', () => {
  const before = openDescriptors();
  const file = openSync('/proc/self/exe', 'r');
  assert.throws(() => os().adoptEvent(file), { name: 'OsFailure', code: 'EPERM' });
  assert.equal(openDescriptors(), before);
});

test('an adopted eventfd is made non-blocking: signalling a full one returns', () => {
  const fd = eventfd(0, 0);
  const most = new NativeBuffer(8);
  most.data.setBigUint64(0, 2n ** 64n - 2n, true);
  assert.equal(write(fd, most.address, 8), 8);
  const event = os().adoptEvent(fd);
  assert.notEqual(fcntl(fd, F_GETFL, 0) & O_NONBLOCK, 0);
  event.signal();
  event.close();
});

test('a pipe in place of an eventfd takes signals until it is full, and none when its reader is gone', () => {
  const [reader, writer] = openPipe();
  const event = os().adoptEvent(writer);
  for (let i = 0; i < 10_000; i++) event.signal();
  closeFd(reader);
  event.signal();
  event.close();
});

test('a socket in place of an eventfd whose other end is gone takes signals', () => {
  const [ours, theirs] = pairSockets();
  const event = os().adoptEvent(ours);
  closeFd(theirs);
  event.signal();
  event.close();
});

test('a pipe in place of an eventfd rings, and its hang-up is reported at most once', async () => {
  const [reader, writer] = openPipe();
  const event = os().adoptEvent(reader);
  const bell = new Bell(event);
  const text = new NativeBuffer(8);
  for (let i = 0; i < 2; i++) {
    write(writer, text.address, 8);
    await bell.next();
  }
  closeFd(writer);
  for (let i = 0; i < 10; i++) await settled(os());
  assert.ok(bell.rings <= 3, `${bell.rings} rings`);
  event.close();
});

test('a closed event is silent, though the peer still holds and signals it', async () => {
  const event = os().createEvent();
  const peer = fcntl(event.fd, F_DUPFD, 0);
  const bell = new Bell(event);
  event.close();
  event.close();
  event.signal();
  assert.equal(event.fd, -1);
  const other = os().adoptEvent(peer);
  other.signal();
  await settled(os());
  assert.equal(bell.rings, 0);
  other.close();
});

test('an event may be closed by its own ring, and by that of another', async () => {
  const events = [os().createEvent(), os().createEvent()];
  let rings = 0;
  for (const event of events) {
    event.watch(() => {
      rings++;
      for (const each of events) each.close();
    });
    event.signal();
  }
  await settled(os());
  assert.equal(rings, 1);
});

test('two descriptors of the same eventfd ring both', async () => {
  const event = os().createEvent();
  const twin = os().adoptEvent(fcntl(event.fd, F_DUPFD, 0));
  const bells = [new Bell(event), new Bell(twin)];
  event.signal();
  await Promise.all(bells.map((bell) => bell.next()));
  event.close();
  twin.signal();
  await bells[1]!.next();
  assert.equal(bells[0]!.rings, 1);
  twin.close();
});
