import assert from 'node:assert/strict';
import { openSync } from 'node:fs';
import { test } from 'node:test';
import type { EventPort } from '../transports/ports.js';
import { eventfd, fcntl, timerfd_create, write } from './libc.js';
import { NativeBuffer } from './native-buffer.js';
import { descriptorsLeft, freshOs, openDescriptors } from './testing/open-descriptors.js';
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

test('what is no eventfd is refused and closed, whatever else could be waited for', async () => {
  const before = openDescriptors();
  const [reader, writer] = openPipe();
  const [ours, theirs] = pairSockets();
  const timer = timerfd_create(1, 0);
  for (const fd of [
    openSync('/proc/self/exe', 'r'),
    openSync('/dev/null', 'r+'),
    reader,
    writer,
    ours,
    theirs,
    timer,
  ]) {
    assert.throws(() => os().adoptEvent(fd), {
      name: 'OsError',
      code: 'EINVAL',
      message: /^can't use .* as an eventfd/,
    });
  }
  assert.throws(() => os().adoptEvent(9999), { name: 'OsError' });
  await descriptorsLeft(before);
});

test('two descriptors of one eventfd are known for the same', () => {
  const [event, another] = [os().createEvent(), os().createEvent()];
  const twin = os().adoptEvent(fcntl(event.fd, F_DUPFD, 0));
  assert.deepEqual([event.isSame(twin), twin.isSame(event), event.isSame(another)], [true, true, false]);
  for (const each of [event, another, twin]) each.close();
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
