import assert from 'node:assert/strict';
import { fstatSync, openSync, read, readSync } from 'node:fs';
import { test } from 'node:test';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { closeFd } from './close-fd.js';
import { duplicate } from './duplicate.js';
import { eventfd, fcntl, socketpair } from './libc.js';
import { receiveBuffer, receiveMessage } from './message-socket.js';
import { NativeBuffer } from './native-buffer.js';
import { Inbox } from './testing/inbox.js';
import { descriptorsLeft, freshOs, openDescriptors } from './testing/open-descriptors.js';
import { openPipe } from './testing/open-pipe.js';
import { sendDescriptors } from './testing/send-descriptors.js';
import { settled } from './testing/settled.js';
import type { UnixChannel } from './unix-channel.js';

const F_GETFD = 1;
const FD_CLOEXEC = 1;
const MIB = 1024 * 1024;

const os = freshOs();

function bytes(text: string): Uint8Array {
  return Buffer.from(text, 'latin1');
}

function pair(): [UnixChannel, UnixChannel] {
  const { channel, fd } = os().createChannel();
  return [channel as UnixChannel, os().adoptChannel(fd) as UnixChannel];
}

/** All that waits in a socket, read without the event loop. */
function drain(fd: number): number {
  const memory = receiveBuffer();
  let total = 0;
  for (let got = receiveMessage(fd, memory); got && got.size > 0; got = receiveMessage(fd, memory)) {
    for (const each of got.fds) closeFd(each);
    total += got.size;
  }
  return total;
}

test('bytes and descriptors arrive, the descriptors as files of the receiver', async () => {
  const [a, b] = pair();
  const inbox = new Inbox(b);
  const event = os().createEvent();
  a.send(bytes('hello'), [event.fd, event.fd]);
  await inbox.until(() => inbox.text === 'hello');
  assert.equal(inbox.fds.length, 2);
  for (const fd of inbox.fds) {
    assert.notEqual(fd, event.fd);
    assert.equal(fcntl(fd, F_GETFD, 0) & FD_CLOEXEC, FD_CLOEXEC);
    closeFd(fd);
  }
  event.close();
  a.close();
  b.close();
});

test('descriptors of sends in a row are not mixed, and belong to the last send that begins in a read', async () => {
  const [a, b] = pair();
  const files = [
    openSync('/proc/self/exe', 'r'),
    openSync('/proc/self/maps', 'r'),
    openSync('/dev/null', 'r'),
  ];
  a.send(bytes('plain'));
  a.send(bytes('one'), [files[0]!]);
  a.send(bytes('two'), [files[1]!, files[2]!]);
  a.send(bytes('end'));
  const inbox = new Inbox(b);
  await inbox.until(() => inbox.text.length === 14);
  assert.deepEqual(
    inbox.reads.map(({ text, fds }) => [text, fds.map((fd) => fstatSync(fd).ino)]),
    [
      ['plainone', [fstatSync(files[0]!).ino]],
      ['two', [files[1]!, files[2]!].map((fd) => fstatSync(fd).ino)],
      ['end', []],
    ],
  );
  for (const fd of [...files, ...inbox.fds]) closeFd(fd);
  a.close();
  b.close();
});

test('however much is sent with however many descriptors, each belongs to the last send that begins in its read', async () => {
  const sends = fc.array(
    fc.record({
      size: fc.oneof(
        { weight: 3, arbitrary: fc.integer({ min: 1, max: 100 }) },
        fc.integer({ min: 1, max: 300_000 }),
      ),
      fds: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 4 })),
    }),
    { minLength: 1, maxLength: 30 },
  );
  await fc.assert(
    fc.asyncProperty(sends, async (list) => {
      const [a, b] = pair();
      const inbox = new Inbox(b);
      list.forEach(({ size, fds }, index) => {
        // A descriptor is told by the size of its file.
        const memory = os().createMemory('mark', index + 1);
        memory.mapping.release();
        a.send(new Uint8Array(size).fill(index), new Array(fds).fill(memory.fd));
        closeFd(memory.fd);
      });
      const total = list.reduce((sum, { size }) => sum + size, 0);
      await inbox.until(() => inbox.text.length === total);
      assert.equal(
        inbox.text,
        list.map(({ size }, index) => String.fromCharCode(index).repeat(size)).join(''),
      );
      let read = 0;
      const seen = list.map(() => 0);
      for (const { text, fds } of inbox.reads) {
        let begin = 0;
        const begun = list.findLastIndex((_, index) => {
          begin = list.slice(0, index).reduce((sum, { size }) => sum + size, 0);
          return begin < read + text.length;
        });
        for (const fd of fds) {
          assert.ok(begin >= read);
          assert.equal(fstatSync(fd).size, begun + 1);
          seen[begun]!++;
          closeFd(fd);
        }
        read += text.length;
      }
      assert.deepEqual(
        seen,
        list.map(({ fds }) => fds),
      );
      a.close();
      b.close();
    }),
    { numRuns: 40 },
  );
});

test('a channel that is closed ends the connection for whoever has a duplicate of it, and one that is shared does not', async () => {
  for (const shared of [false, true]) {
    const { channel: peer, fd } = os().createChannel();
    const inbox = new Inbox(peer);
    const copy = duplicate(fd);
    const channel = os().adoptChannel(fd, shared);
    channel.send(bytes('one'));
    channel.close();
    await inbox.until(() => inbox.text === 'one');
    const other = os().adoptChannel(copy);
    other.send(bytes('two'));
    await inbox.until(() => (shared ? inbox.text === 'onetwo' : inbox.closes > 0));
    assert.equal(inbox.closes, shared ? 0 : 1);
    other.close();
    await inbox.until(() => inbox.closes === 1);
    assert.equal(inbox.text, shared ? 'onetwo' : 'one');
    peer.close();
  }
});

test('64 descriptors fit into a message, and 65, or some without a byte, are our own mistake', async () => {
  const [a, b] = pair();
  const inbox = new Inbox(b);
  a.send(bytes('x'), new Array(64).fill(0));
  await inbox.until(() => inbox.text === 'x');
  assert.equal(inbox.fds.length, 64);
  for (const fd of inbox.fds) closeFd(fd);
  assert.throws(() => a.send(bytes('x'), new Array(65).fill(0)), RangeError);
  assert.throws(() => a.send(bytes(''), [0]), RangeError);
  a.close();
  b.close();
});

test('a descriptor that is not open is refused, and the channel lives on', async () => {
  const [a, b] = pair();
  const inbox = new Inbox(b);
  assert.throws(() => a.send(bytes('lost'), [9999]), { code: 'EBADF', syscall: 'sendmsg' });
  a.send(bytes('fine'));
  await inbox.until(() => inbox.text === 'fine');
  a.close();
  b.close();
});

test('a peer that sends more descriptors than we take loses the connection, and none of them stays open', async () => {
  const fds = new NativeBuffer(8);
  socketpair(1, 1, 0, fds.address);
  const [raw, ours] = [fds.data.getInt32(0, true), fds.data.getInt32(4, true)];
  const channel = os().adoptChannel(ours);
  const before = openDescriptors();
  sendDescriptors(raw, new Array<number>(200).fill(0));
  const inbox = new Inbox(channel);
  await inbox.until(() => inbox.closes > 0);
  assert.deepEqual(inbox.reads, []);
  assert.match(String(inbox.error), /descriptors.*EMSGSIZE/);
  await descriptorsLeft(before - 1);
  closeFd(raw);
});

test('what the socket does not take at once follows in order, with its descriptors, that may be closed by then', async () => {
  const [a, b] = pair();
  const big = new Uint8Array(5 * MIB).map((_, i) => i * 7 + (i >> 11));
  const fd = eventfd(7, 0);
  a.send(big);
  a.send(bytes('behind'), [fd]);
  a.send(bytes('last'));
  closeFd(fd);
  big.fill(0, 4 * MIB);
  const inbox = new Inbox(b);
  await inbox.until(() => inbox.text.length === 5 * MIB + 10);
  const text = inbox.text;
  assert.ok(text.endsWith('behindlast'));
  for (let i = 0; i < 5 * MIB; i++) {
    if (text.charCodeAt(i) !== ((i * 7 + (i >> 11)) & 0xff)) assert.fail(`byte ${i} is wrong`);
  }
  assert.equal(inbox.fds.length, 1);
  assert.equal(readSync(inbox.fds[0]!, new Uint8Array(8)), 8);
  closeFd(inbox.fds[0]!);
  a.close();
  b.close();
});

test('a peer that never reads loses the connection when 16 MiB wait', async () => {
  const { channel, fd } = os().createChannel();
  const inbox = new Inbox(channel);
  for (let i = 0; i < 17; i++) channel.send(new Uint8Array(MIB));
  await inbox.until(() => inbox.closes > 0);
  assert.match(String(inbox.error), /does not read.*ENOBUFS/);
  assert.ok(drain(fd) < MIB, 'nothing more is sent');
  closeFd(fd);
});

test('descriptors and small sends that wait count, too, and are let go with the rest', async () => {
  for (const send of [
    (channel: UnixChannel) => channel.send(bytes('x'), new Array(64).fill(0)),
    (channel: UnixChannel) => channel.send(bytes('x')),
  ]) {
    const { channel, fd } = os().createChannel();
    const inbox = new Inbox(channel);
    const before = openDescriptors();
    channel.send(new Uint8Array(MIB));
    let most = 0;
    for (let i = 0; i < 100_000; i++) {
      send(channel as UnixChannel);
      if (i % 64 === 0) most = Math.max(most, openDescriptors());
    }
    await inbox.until(() => inbox.closes > 0);
    assert.match(String(inbox.error), /ENOBUFS/);
    assert.ok(most - before <= 256);
    assert.equal(openDescriptors(), before - 1);
    closeFd(fd);
  }
});

test('all that a peer sent before it hung up is delivered first, then that it closed, once', async () => {
  const [a, b] = pair();
  const inbox = new Inbox(b);
  a.send(new Uint8Array(150_000));
  a.send(bytes('bye'));
  a.close();
  await inbox.until(() => inbox.closes > 0);
  assert.equal(inbox.text.length, 150_003);
  assert.ok(inbox.text.endsWith('bye'));
  assert.equal(inbox.error, undefined);
  b.send(bytes('too late'));
  await new Promise(setImmediate);
  assert.equal(inbox.closes, 1);
});

test('so it is when our own bytes were never read, or are sent to nobody', async () => {
  for (const size of [1, 4 * MIB]) {
    const [a, b] = pair();
    b.send(new Uint8Array(size));
    a.send(bytes('bye'));
    a.close();
    b.send(bytes('anybody there?'));
    const inbox = new Inbox(b);
    await inbox.until(() => inbox.closes > 0);
    assert.equal(inbox.text, 'bye');
    assert.equal(inbox.error, undefined);
  }
});

test('a close of our own is not announced, and lets go what waits and what nobody received', async () => {
  const [a, b] = pair();
  const inbox = new Inbox(b);
  const [reader, writer] = openPipe();
  a.send(bytes('never seen'), [writer]);
  b.send(new Uint8Array(4 * MIB), [writer]);
  b.send(bytes('waits'), [writer]);
  closeFd(writer);
  b.close();
  b.close();
  a.close();
  // The end of the pipe: no writer is left.
  assert.equal((await promisify(read)(reader, new Uint8Array(1), 0, 1, null)).bytesRead, 0);
  closeFd(reader);
  await new Promise(setImmediate);
  assert.deepEqual([inbox.reads, inbox.closes], [[], 0]);
});

test('a close while an end is about to be announced comes first', async () => {
  const [a, b] = pair();
  a.close();
  const inbox = new Inbox(b);
  b.close();
  await new Promise(setImmediate);
  assert.equal(inbox.closes, 0);
});

test('a handler may close the channel while it is given bytes', async () => {
  const [a, b] = pair();
  a.send(new Uint8Array(200_000));
  let reads = 0;
  const closed = new Promise<void>((resolve) => {
    b.receive({
      received: () => {
        reads++;
        b.close();
        resolve();
      },
      closed: () => assert.fail('closed'),
    });
  });
  await closed;
  await new Promise(setImmediate);
  assert.equal(reads, 1);
  a.close();
});

test('a channel that is paused leaves what comes in the socket, the end too, until it goes on', async () => {
  const [a, b] = pair();
  const inbox = new Inbox(b);
  b.pause();
  a.send(bytes('kept'), [0]);
  a.close();
  await settled(os());
  assert.deepEqual([inbox.reads, inbox.closes], [[], 0]);
  b.resume();
  await inbox.until(() => inbox.closes > 0);
  assert.equal(inbox.text, 'kept');
  assert.equal(inbox.fds.length, 1);
  closeFd(inbox.fds[0]!);
});

test('a handler that pauses the channel gets no more', async () => {
  const [a, b] = pair();
  let reads = 0;
  b.receive({
    received: () => {
      reads++;
      b.pause();
    },
    closed: () => assert.fail('closed'),
  });
  a.send(new Uint8Array(200_000));
  while (reads === 0) await settled(os());
  for (let i = 0; i < 3; i++) await settled(os());
  assert.equal(reads, 1);
  a.close();
  b.close();
});

test('only a connected unix stream socket can be adopted as a channel; all else is closed', async () => {
  const before = openDescriptors();
  const [reader, writer] = openPipe();
  closeFd(writer);
  const [datagram, other] = datagrams();
  closeFd(other);
  assert.throws(() => os().adoptChannel(reader), { code: 'ENOTSOCK' });
  assert.throws(() => os().adoptChannel(datagram), { code: 'EPROTOTYPE' });
  assert.throws(() => os().adoptChannel(openSync('/dev/null', 'r')), { code: 'ENOTSOCK' });
  await descriptorsLeft(before);
});

function datagrams(): [number, number] {
  const fds = new NativeBuffer(8);
  assert.equal(socketpair(1, 2, 0, fds.address), 0);
  return [fds.data.getInt32(0, true), fds.data.getInt32(4, true)];
}
