import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { encodeMessage, Framing, MESSAGE_FDS_MOST, MESSAGE_SIZE_MOST, type Message } from './framing.js';
import * as wire from './messages.js';
import { ConnectionError } from './vfio-user-error.js';

interface Plain {
  id: number;
  command: number;
  flags: number;
  payload: Uint8Array;
}

const plain: fc.Arbitrary<Plain> = fc.record(
  {
    id: fc.nat(0xffff),
    command: fc.nat(0xffff),
    flags: fc.nat(0x1f),
    payload: fc.uint8Array({ maxLength: 100 }),
  },
  { noNullPrototype: true },
);

function encode({ id, command, flags, payload }: Plain): Uint8Array {
  return encodeMessage(id, command, flags, [payload]);
}

function asPlain({ id, command, flags, payload }: Message): Plain {
  return { id, command, flags, payload: new Uint8Array(payload.buffer) };
}

/** Feeds pieces and gives what comes out. */
function feed(framing: Framing, pieces: readonly (readonly [Uint8Array, number[]?])[]): Message[] {
  const out: Message[] = [];
  for (const [bytes, fds = []] of pieces) {
    framing.push(
      bytes,
      fds,
      (message) => void out.push(message),
      () => assert.fail('descriptors were refused'),
    );
  }
  return out;
}

test('however the stream is cut, the same messages come out', () => {
  fc.assert(
    fc.property(
      fc.array(plain, { maxLength: 8 }),
      fc.array(fc.integer({ min: 1, max: 60 })),
      (sent, cuts) => {
        const stream = new Uint8Array(sent.flatMap((message) => [...encode(message)]));
        const pieces: [Uint8Array][] = [];
        let at = 0;
        for (const cut of [...cuts, stream.length]) {
          pieces.push([stream.subarray(at, at + cut)]);
          at += cut;
        }
        assert.deepEqual(feed(new Framing(), pieces).map(asPlain), sent);
      },
    ),
  );
});

test('descriptors belong to the last message that begins in the bytes they came with', () => {
  const a = encodeMessage(1, 2, 0, [new Uint8Array(5)]);
  const b = encodeMessage(2, 2, 0, [new Uint8Array(5)]);
  const both = new Uint8Array([...a, ...b]);
  const fds = (pieces: [Uint8Array, number[]?][]): number[][] =>
    feed(new Framing(), pieces).map((message) => message.fds);
  assert.deepEqual(fds([[both, [7]]]), [[], [7]]);
  assert.deepEqual(fds([[a, [7]], [b]]), [[7], []]);
  // The kernel may glue the rest of one message to the next, but ends the read behind descriptors.
  assert.deepEqual(fds([[both.subarray(0, 10)], [both.subarray(10, 30), [7]], [both.subarray(30)]]), [
    [],
    [7],
  ]);
  assert.deepEqual(fds([[both.subarray(0, 1), [7]], [both.subarray(1)]]), [[7], []]);
});

test('more descriptors than a message may have are given back', () => {
  const framing = new Framing();
  const fds = Array.from({ length: MESSAGE_FDS_MOST + 2 }, (_, i) => i);
  const refused: number[] = [];
  framing.push(
    encodeMessage(1, 2, 0),
    fds,
    (message) => assert.equal(message.fds.length, MESSAGE_FDS_MOST),
    (more) => void refused.push(...more),
  );
  assert.deepEqual(refused, fds.slice(MESSAGE_FDS_MOST));
});

test('a size that can’t be ends it, after what came before', () => {
  for (const size of [0, 15, MESSAGE_SIZE_MOST + 1, 0xffff_ffff]) {
    const bad = encodeMessage(9, 9, 0);
    new DataView(bad.buffer).setUint32(wire.HEADER.messageSize, size, true);
    const framing = new Framing();
    const out: Message[] = [];
    assert.throws(
      () =>
        framing.push(
          new Uint8Array([...encodeMessage(1, 2, 0), ...bad]),
          [5],
          (message) => void out.push(message),
          () => {},
        ),
      (error: unknown) => error instanceof ConnectionError && error.code === 'FRAMING',
    );
    assert.equal(out.length, 1);
    assert.deepEqual(framing.abandon(), [5]);
  }
});

test('the longest message is a transfer of the most bytes with room to spare', () => {
  assert.equal(MESSAGE_SIZE_MOST, 0x10_1000);
  const payload = new Uint8Array(MESSAGE_SIZE_MOST - wire.HEADER.size).fill(7);
  const [message] = feed(new Framing(), [[encodeMessage(1, 2, 0, [payload])]]);
  assert.equal(message!.payload.byteLength, payload.length);
});

test('descriptors of a message that was never whole can be had back, once', () => {
  const framing = new Framing();
  feed(framing, [[encodeMessage(1, 2, 0, [new Uint8Array(4)]).subarray(0, 18), [3, 4]]]);
  assert.deepEqual(framing.abandon(), [3, 4]);
  assert.deepEqual(framing.abandon(), []);
});

test('random bytes bring messages or a FRAMING error, nothing else', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 10 }), (pieces) => {
      const framing = new Framing();
      try {
        feed(
          framing,
          pieces.map((bytes) => [bytes]),
        );
      } catch (error) {
        assert.ok(error instanceof ConnectionError);
      }
    }),
  );
});

test('an error reply carries the errno, and nothing else does', () => {
  const error = encodeMessage(1, 2, wire.VFIO_USER_F_TYPE_REPLY | wire.VFIO_USER_F_ERROR, [], 22);
  const success = encodeMessage(1, 2, wire.VFIO_USER_F_TYPE_REPLY, [], 22);
  assert.deepEqual(
    feed(new Framing(), [[error], [success]]).map((message) => message.error),
    [22, 0],
  );
});
