import assert from 'node:assert/strict';
import fc from 'fast-check';
import * as vfio from '../../../src/transports/vfio-user/codec.js';
import * as features from '../../../src/transports/vfio-user/feature-codec.js';
import { Framing } from '../../../src/transports/vfio-user/framing.js';
import { decodeVersion } from '../../../src/transports/vfio-user/version.js';
import { ConnectionError, VfioUserError } from '../../../src/transports/vfio-user/vfio-user-error.js';
import { checkDescriptors, checkRequest, Decoder } from '../../../src/transports/vhost-user/codec.js';
import * as vhost from '../../../src/transports/vhost-user/payloads.js';
import { ProtocolError } from '../../../src/transports/vhost-user/protocol-error.js';
import { ConfigSpace } from '../../../src/virtio/config-space.js';
import { bytes, le16, le32, le64, struct, text, u8 } from '../../../src/virtio/struct.js';
import { tail } from '../../../src/virtio/tail.js';
import { type Target, target } from '../target.js';

/** Calls; an error of one of these kinds is an answer too. */
function answered<T>(
  kinds: readonly (abstract new (...args: never[]) => Error)[],
  call: () => T,
): T | undefined {
  try {
    return call();
  } catch (error) {
    if (!kinds.some((kind) => error instanceof kind)) throw error;
    return undefined;
  }
}

const noise = fc.uint8Array({ maxLength: 120, size: 'max' });
/** Bytes that begin as a header would, often of a message that fits. */
const nearly = (header: number): fc.Arbitrary<Uint8Array> =>
  fc.tuple(fc.nat(50), fc.nat(50), fc.nat(90), noise).map(([first, second, size, rest]) => {
    const all = new Uint8Array(header + rest.length);
    all.set(rest, header);
    all[0] = first;
    all[header === 12 ? 4 : 2] = header === 12 ? second & 13 : second & 31;
    all[header === 12 ? 8 : 4] = size;
    return all;
  });
const cut = fc.integer({ min: 1, max: 64 });

/** @returns pieces of a stream as a socket could give them. */
function piecesOf(stream: Uint8Array, length: number): Uint8Array[] {
  return Array.from({ length: Math.ceil(stream.length / length) }, (_, i) =>
    stream.subarray(i * length, (i + 1) * length),
  );
}

const vhostStream = target(
  'vhost-user-messages',
  'message decoded, or payload of one',
  fc.tuple(fc.array(fc.oneof(noise, nearly(12)), { maxLength: 10 }), cut, fc.nat(3)),
  ([parts, length, fds]) => {
    let steps = 0;
    for (const part of parts) {
      const decoder = new Decoder();
      for (const [i, piece] of piecesOf(part, length).entries()) {
        answered([ProtocolError], () => decoder.push(piece, i === 0 ? [7, 8, 9].slice(0, fds) : []));
        for (let message = decoder.next(); message !== undefined; message = decoder.next()) {
          const one = message;
          answered([ProtocolError], () => checkRequest(one));
          answered([ProtocolError], () => checkDescriptors(one, fds));
          steps += 1;
        }
      }
      decoder.abandon();
      // Payloads are of the size that the message's kind has; those that say their own are short of it or not.
      const padded = new Uint8Array(Math.max(64, part.length));
      padded.set(part);
      const view = new DataView(padded.buffer);
      vhost.decodeVringState(view);
      vhost.decodeVringAddress(view);
      vhost.decodeLog(new DataView(part.slice().buffer));
      vhost.decodeRegion(view);
      const regions = vhost.decodeRegions(view);
      assert.ok((regions?.length ?? 0) * 32 <= padded.length);
      const config = vhost.decodeConfig(view);
      assert.equal(config.bytes.length, padded.length - 12);
      steps += 6;
    }
    return steps;
  },
);

const VFIO_ERRORS = [VfioUserError, ConnectionError];
const PAYLOADS: readonly ((view: DataView) => unknown)[] = [
  vfio.decodeDmaMap,
  vfio.decodeDmaUnmap,
  (view) => vfio.decodeIndex(view, 6),
  vfio.decodeIrqSet,
  (view) => vfio.decodeRegionAccess(view, 9),
  vfio.decodeRegionWrite,
  (view) => [...vfio.decodeWriteMulti(view)],
  decodeVersion,
  features.decodeFeature,
  features.decodeMigState,
  features.decodeMigration,
  features.decodeLoggingControl,
  features.decodeLoggingReport,
  features.decodeMigDataRead,
  (view) => features.decodeMigData(view, 19),
];

const vfioStream = target(
  'vfio-user-messages',
  'message decoded, or payload of one',
  fc.tuple(fc.array(fc.oneof(noise, nearly(16)), { maxLength: 10 }), cut, fc.nat(3)),
  ([parts, length, fds]) => {
    let steps = 0;
    for (const part of parts) {
      const framing = new Framing();
      answered(VFIO_ERRORS, () => {
        for (const piece of piecesOf(part, length)) {
          framing.push(
            piece,
            [7, 8, 9].slice(0, fds),
            () => {
              steps += 1;
            },
            () => {},
          );
        }
      });
      const view = new DataView(part.slice().buffer);
      for (const decode of PAYLOADS) {
        answered(VFIO_ERRORS, () => decode(view));
        steps += 1;
      }
    }
    return steps;
  },
);

const FIELDS = { a: u8, b: le16, c: le32, d: le64, e: bytes(5), f: text(7) };
const FIXED = struct(FIELDS);
const LONGER = struct({ ...FIELDS, rest: tail(200) });

const structs = target('structs', 'struct decoded', fc.array(noise, { maxLength: 20 }), (all) => {
  for (const one of all) {
    const fixed = answered([RangeError], () => FIXED.decode(one));
    // What a le64 says beyond 2^53 is lost, and text ends at its first zero.
    if (fixed !== undefined && Number.isSafeInteger(fixed.d)) {
      assert.deepEqual(FIXED.decode(FIXED.encode(fixed)), fixed);
    }
    const longer = answered([RangeError], () => LONGER.decode(one));
    assert.equal(longer === undefined, fixed === undefined);
    if (longer !== undefined) assert.equal(longer.rest.length, one.length - FIXED.size);
  }
  return 2 * all.length;
});

const CONFIG_SIZE = 16;
const place = fc.nat(CONFIG_SIZE + 4);
const configSpace = target(
  'config-space',
  'access to the configuration space',
  fc.tuple(
    fc.nat(CONFIG_SIZE),
    fc.nat(CONFIG_SIZE),
    fc.array(fc.tuple(fc.boolean(), place, fc.uint8Array({ maxLength: CONFIG_SIZE + 4, size: 'max' })), {
      maxLength: 50,
      size: 'max',
    }),
  ),
  ([a, b, accesses]) => {
    const [from, to] = [Math.min(a, b), Math.max(a, b)];
    const space = new ConfigSpace(CONFIG_SIZE, [[from, to]]);
    const model = new Uint8Array(CONFIG_SIZE);
    for (const [write, offset, data] of accesses) {
      if (write) {
        space.write(offset, data);
        data.forEach((byte, i) => {
          if (offset + i >= from && offset + i < to) model[offset + i] = byte;
        });
      } else {
        const seen = space.read(offset, data.length);
        const wanted = Array.from(data, (_, i) => model[offset + i] ?? 0);
        assert.deepEqual([...seen], wanted);
      }
    }
    return accesses.length;
  },
);

/** What is made of bytes that a peer sent. */
export const CODECS: readonly Target[] = [vhostStream, vfioStream, structs, configSpace];
