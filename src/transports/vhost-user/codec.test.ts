import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { FrontendAddress, GuestAddress } from '../../memory/address.js';
import { checkDescriptors, checkRequest, Decoder, encodeMessage, type Message } from './codec.js';
import { FLAGS, HEADER_SIZE, MAX_PAYLOAD_SIZE, REQUEST } from './messages.js';
import * as payloads from './payloads.js';
import { ProtocolError } from './protocol-error.js';

const NO_FDS: readonly number[] = [];

function drain(decoder: Decoder): Message[] {
  const messages: Message[] = [];
  for (let message = decoder.next(); message !== undefined; message = decoder.next()) messages.push(message);
  return messages;
}

function header(request: number, flags: number, size: number): Uint8Array {
  return new Uint8Array(new Uint32Array([request, flags, size]).buffer);
}

function join(...parts: Uint8Array[]): Uint8Array {
  return new Uint8Array(parts.flatMap((part) => [...part]));
}

function code(error: unknown): string | undefined {
  return error instanceof ProtocolError ? error.code : undefined;
}

test('vhost-user Header: a message comes out as it went in, however the stream is cut', () => {
  const message = fc.record({
    request: fc.nat(0xffff_ffff),
    flags: fc.constantFrom(0, FLAGS.NEED_REPLY, FLAGS.REPLY),
    payload: fc.uint8Array({ maxLength: 300 }),
  });
  fc.assert(
    fc.property(
      fc.array(message, { maxLength: 8 }),
      fc.array(fc.integer({ min: 1, max: 50 })),
      (sent, cuts) => {
        const stream = join(...sent.map((m) => encodeMessage(m.request, m.flags, m.payload)));
        const decoder = new Decoder();
        const got: Message[] = [];
        for (let at = 0, i = 0; at < stream.length; i++) {
          const length = cuts[i % (cuts.length || 1)] ?? stream.length;
          decoder.push(stream.subarray(at, at + length), NO_FDS);
          got.push(...drain(decoder));
          at += length;
        }
        assert.deepEqual(
          got.map(({ request, flags, payload }) => ({
            request,
            flags,
            payload: new Uint8Array(payload.buffer),
          })),
          sent.map((m) => ({ ...m, flags: m.flags | FLAGS.VERSION })),
        );
      },
    ),
  );
});

test('vhost-user Communication: descriptors belong to the last message that begins in the read', () => {
  const decoder = new Decoder();
  const a = encodeMessage(REQUEST.SET_OWNER, 0);
  const b = encodeMessage(REQUEST.SET_VRING_KICK, 0, payloads.encodeU64(0n));
  decoder.push(join(a, b.subarray(0, 5)), [7]);
  decoder.push(b.subarray(5), NO_FDS);
  assert.deepEqual(
    drain(decoder).map(({ request, fds }) => [request, fds]),
    [
      [REQUEST.SET_OWNER, []],
      [REQUEST.SET_VRING_KICK, [7]],
    ],
  );
});

test('vhost-user Communication: descriptors in the middle of a message end the stream, and are handed back', () => {
  const decoder = new Decoder();
  const message = encodeMessage(REQUEST.SET_VRING_KICK, 0, payloads.encodeU64(0n));
  decoder.push(message.subarray(0, 14), [7]);
  assert.throws(
    () => decoder.push(message.subarray(14), [8, 9]),
    (error) => code(error) === 'DESCRIPTORS',
  );
  assert.deepEqual(decoder.abandon().sort(), [7, 8, 9]);
  assert.deepEqual(decoder.abandon(), []);
});

test('vhost-user Header: another version, or more payload than any message has, ends the stream', () => {
  for (const [bytes, expected] of [
    [header(1, 0, 0), 'VERSION'],
    [header(1, 2, 0), 'VERSION'],
    [header(1, 3, 0), 'VERSION'],
    [header(1, 1, MAX_PAYLOAD_SIZE + 1), 'SIZE'],
    [header(1, 1, 0xffff_ffff), 'SIZE'],
  ] as const) {
    const decoder = new Decoder();
    assert.throws(
      () => decoder.push(bytes, [3]),
      (error) => code(error) === expected && (error as Error).message.startsWith('GET_FEATURES: '),
    );
    assert.deepEqual(decoder.abandon(), [3]);
  }
});

test('the largest payload is taken', () => {
  const decoder = new Decoder();
  decoder.push(encodeMessage(99, 0, new Uint8Array(MAX_PAYLOAD_SIZE).fill(1)), NO_FDS);
  assert.equal(decoder.next()?.payload.byteLength, MAX_PAYLOAD_SIZE);
});

test('a peer that sends on and on without waiting for answers is cut off, in bytes and in descriptors', () => {
  const bytes = new Decoder();
  const large = encodeMessage(99, 0, new Uint8Array(MAX_PAYLOAD_SIZE));
  assert.throws(
    () => {
      for (let i = 0; i < 1000; i++) bytes.push(large, NO_FDS);
    },
    (error) => code(error) === 'BACKLOG',
  );
  const fds = new Decoder();
  const small = encodeMessage(99, 0);
  assert.throws(
    () => {
      for (let i = 0; i < 10_000; i++) fds.push(small, [i]);
    },
    (error) => code(error) === 'BACKLOG',
  );
  assert.ok(fds.abandon().length > 1000);
});

test('a peer whose messages are taken can send for ever', () => {
  const decoder = new Decoder();
  const message = encodeMessage(99, 0, new Uint8Array(MAX_PAYLOAD_SIZE));
  for (let i = 0; i < 1000; i++) {
    decoder.push(message, [i, i]);
    assert.equal(drain(decoder).length, 1);
  }
});

test('random bytes never do more than end the stream, and no descriptor is lost', () => {
  const chunk = fc.record({
    bytes: fc.oneof(
      fc.uint8Array({ maxLength: 64 }),
      fc
        .tuple(fc.nat(50), fc.constantFrom(1, 1, 1, 9, 5, 2), fc.oneof(fc.nat(64), fc.nat(0xffff_ffff)))
        .map((fields) => header(...fields)),
    ),
    fds: fc.nat(3),
  });
  fc.assert(
    fc.property(fc.array(chunk, { maxLength: 30 }), (chunks) => {
      const decoder = new Decoder();
      let next = 0;
      const back: number[] = [];
      try {
        for (const { bytes, fds } of chunks) {
          const given = Array.from({ length: fds }, () => next++);
          decoder.push(bytes, given);
          for (const message of drain(decoder)) back.push(...message.fds);
        }
      } catch (error) {
        assert.ok(error instanceof ProtocolError);
      }
      back.push(...decoder.abandon());
      assert.deepEqual(
        back.sort((a, b) => a - b),
        Array.from({ length: next }, (_, i) => i),
      );
    }),
  );
});

test('a payload of the wrong size, a reply, or a wrong number of descriptors is named', () => {
  const message = (request: number, flags: number, size: number, fds: number[] = []): Message => ({
    request,
    flags: flags | FLAGS.VERSION,
    payload: new DataView(new ArrayBuffer(size)),
    fds,
  });
  assert.throws(() => checkRequest(message(REQUEST.SET_VRING_NUM, 0, 7)), {
    code: 'SIZE',
    message: 'SET_VRING_NUM: 7 bytes of payload instead of 8',
  });
  assert.throws(() => checkRequest(message(REQUEST.GET_CONFIG, 0, 11)), {
    code: 'SIZE',
    message: 'GET_CONFIG: 11 bytes of payload instead of 12 to 268',
  });
  assert.throws(() => checkRequest(message(REQUEST.GET_FEATURES, FLAGS.REPLY, 0)), { code: 'FLAGS' });
  assert.throws(() => checkDescriptors(message(REQUEST.ADD_MEM_REG, 0, 40, [3, 4]), 1), {
    code: 'DESCRIPTORS',
    message: 'ADD_MEM_REG: 2 descriptors came instead of 1',
  });
  checkRequest(message(12_345, 0, MAX_PAYLOAD_SIZE));
  checkRequest(message(REQUEST.GET_CONFIG, FLAGS.NEED_REPLY, 268));
});

test('vhost-user Payload: structs come out as they went in', () => {
  const u32 = fc.nat(0xffff_ffff);
  const address = fc.maxSafeNat();
  const region = fc
    .tuple(address, address, address, address)
    .map(([guestAddress, size, userAddress, mmapOffset]) => ({
      guestAddress: guestAddress as GuestAddress,
      size,
      userAddress: userAddress as FrontendAddress,
      mmapOffset,
    }));
  const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer);
  fc.assert(
    fc.property(
      fc.array(region, { minLength: 1, maxLength: 9 }),
      u32,
      u32,
      fc.uint8Array(),
      (regions, a, b, bytes) => {
        assert.deepEqual(payloads.decodeRegions(view(payloads.encodeRegions(regions))), regions);
        assert.deepEqual(payloads.decodeRegion(view(payloads.encodeRegion(regions[0]!))), regions[0]);
        const state = { index: a, num: b };
        assert.deepEqual(payloads.decodeVringState(view(payloads.encodeVringState(state))), state);
        const { guestAddress, userAddress, size } = regions[0]!;
        const addresses = {
          index: a,
          flags: b,
          descriptor: userAddress,
          used: guestAddress as number as FrontendAddress,
          available: size as FrontendAddress,
          log: guestAddress,
        };
        assert.deepEqual(
          payloads.decodeVringAddress(view(payloads.encodeVringAddress(addresses))),
          addresses,
        );
        const log = { size, offset: regions[0]!.mmapOffset };
        assert.deepEqual(payloads.decodeLog(view(payloads.encodeLog(log))), log);
        const config = { offset: a, size: b, flags: 1, bytes };
        assert.deepEqual(payloads.decodeConfig(view(payloads.encodeConfig(config))), config);
      },
    ),
  );
});

test('vhost-user Payload: an address that is wider than 53 bits is no number', () => {
  const bytes = new Uint8Array(40).fill(0xff);
  const region = payloads.decodeRegion(new DataView(bytes.buffer));
  assert.deepEqual(region, {
    guestAddress: Number.NaN,
    size: Number.NaN,
    userAddress: Number.NaN,
    mmapOffset: Number.NaN,
  });
});

test('vhost-user Payload: more regions than there are bytes for are not read', () => {
  const bytes = new Uint8Array(8 + 32);
  new DataView(bytes.buffer).setUint32(0, 2, true);
  assert.equal(payloads.decodeRegions(new DataView(bytes.buffer)), undefined);
  new DataView(bytes.buffer).setUint32(0, 0xffff_ffff, true);
  assert.equal(payloads.decodeRegions(new DataView(bytes.buffer)), undefined);
});

test('vhost-user Header: the bytes are those of the specification', () => {
  assert.equal(HEADER_SIZE, 12);
  assert.deepEqual(
    [
      ...encodeMessage(
        REQUEST.SET_VRING_NUM,
        FLAGS.NEED_REPLY,
        payloads.encodeVringState({ index: 1, num: 256 }),
      ),
    ],
    [8, 0, 0, 0, 9, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0],
  );
  const [guestAddress, userAddress] = [0x1_0000_2000 as GuestAddress, 0x7f00_0000_1000 as FrontendAddress];
  assert.deepEqual(
    [...payloads.encodeRegion({ guestAddress, size: 0x3000, userAddress, mmapOffset: 0x4000 })],
    [
      [0, 0, 0, 0, 0, 0, 0, 0],
      [0, 0x20, 0, 0, 1, 0, 0, 0],
      [0, 0x30, 0, 0, 0, 0, 0, 0],
      [0, 0x10, 0, 0, 0, 0x7f, 0, 0],
      [0, 0x40, 0, 0, 0, 0, 0, 0],
    ].flat(),
  );
  assert.deepEqual(
    [...payloads.encodeLog({ size: 0x1000, offset: 0x2000 })],
    [0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0],
  );
  const at = (n: number): FrontendAddress => n as FrontendAddress;
  assert.deepEqual(
    [
      ...payloads.encodeVringAddress({
        index: 2,
        flags: 1,
        descriptor: at(0x10),
        used: at(0x20),
        available: at(0x30),
        log: 0x40 as GuestAddress,
      }),
    ],
    [
      [2, 0, 0, 0, 1, 0, 0, 0],
      [0x10, 0, 0, 0, 0, 0, 0, 0],
      [0x20, 0, 0, 0, 0, 0, 0, 0],
      [0x30, 0, 0, 0, 0, 0, 0, 0],
      [0x40, 0, 0, 0, 0, 0, 0, 0],
    ].flat(),
  );
});
