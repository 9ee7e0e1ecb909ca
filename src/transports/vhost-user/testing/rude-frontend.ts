import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { FrontendAddress, GuestAddress } from '../../../memory/address.js';
import { F_PROTOCOL_FEATURES, PROTOCOL_F, REQUEST, VHOST_F_LOG_ALL } from '../messages.js';
import * as payloads from '../payloads.js';
import { Bench, type BenchRing, GUEST_START, MEMORY_SIZE, USER_START } from './bench.js';
import { ProbeDevice } from './probe-device.js';

/** One thing that a front-end, its guest or the device does; `ring` is one of the bench's two. */
export type Step = (b: Bench, rings: readonly BenchRing[], device: ProbeDevice) => void;

const anyU32 = fc.oneof(
  fc.nat(4),
  fc.constantFrom(8, 64, 0x100, 0xffff, 0x1_0000, 0xffff_ffff),
  fc.nat(0xffff_ffff),
);
const anyU64 = fc.oneof(anyU32.map(BigInt), fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }));
const anyAddress = fc.oneof(
  fc.nat(MEMORY_SIZE).map((offset) => USER_START + offset),
  fc.constantFrom(0, 1, USER_START - 1, USER_START + MEMORY_SIZE - 2, Number.MAX_SAFE_INTEGER),
);
const anyPage = fc.constantFrom(
  0,
  4096,
  2 * 4096,
  GUEST_START,
  GUEST_START + MEMORY_SIZE,
  USER_START,
  2 ** 53 - 4096,
  5,
);
const anyRegion = fc.tuple(anyPage, anyPage, anyPage, anyPage).map(([guest, size, user, mmapOffset]) => ({
  guestAddress: guest as GuestAddress,
  size,
  userAddress: user as FrontendAddress,
  mmapOffset,
}));
const anyState = fc.tuple(anyU32, anyU32).map(([index, num]) => payloads.encodeVringState({ index, num }));
const anyConfig = fc
  .tuple(anyU32, anyU32, anyU32, fc.uint8Array({ maxLength: 256 }))
  .map(([offset, size, flags, bytes]) => payloads.encodeConfig({ offset, size, flags, bytes }));
const anyAddresses = fc
  .tuple(anyU32, anyAddress, anyAddress, anyAddress, fc.constantFrom(0, 0, 1, 2), anyPage)
  .map(([index, descriptor, available, used, flags, log]) =>
    payloads.encodeVringAddress({
      index,
      flags,
      log: log as GuestAddress,
      descriptor: descriptor as FrontendAddress,
      available: available as FrontendAddress,
      used: used as FrontendAddress,
    }),
  );
const anyInflight = fc
  .tuple(anyPage, fc.constantFrom(0, 0, 4096, 5), fc.nat(4), fc.constantFrom(1, 8, 16, 0, 0x8000))
  .map(([mmapSize, mmapOffset, queues, queueSize]) =>
    payloads.encodeInflight({ mmapSize, mmapOffset, queues, queueSize }),
  );
/** Sets of features that are offered, mostly: what lies behind them is tried. */
const anyFeatures = fc
  .subarray([
    F_PROTOCOL_FEATURES,
    VHOST_F_LOG_ALL,
    1n << 28n,
    1n << 29n,
    1n << 32n,
    1n << 33n,
    1n << 34n,
    1n << 35n,
  ])
  .map((bits) => bits.reduce((all, bit) => all | bit, 0n));
const anyProtocolFeatures = fc
  .subarray(Array.from({ length: 24 }, (_, bit) => 1n << BigInt(bit)))
  .map((bits) => bits.reduce((all, bit) => all | bit, 0n));
/** A u64, one of the values that mean most of the time. */
const anyVringFd = fc.oneof(fc.constantFrom(0n, 1n, 0x100n, 0x101n), anyU64);

const likely: fc.Arbitrary<[number, Uint8Array]> = fc.oneof(
  fc.tuple(
    fc.constantFrom(REQUEST.SET_FEATURES, REQUEST.SET_PROTOCOL_FEATURES, REQUEST.SET_STATUS),
    anyU64.map(payloads.encodeU64),
  ),
  fc.tuple(
    fc.constantFrom(REQUEST.SET_VRING_KICK, REQUEST.SET_VRING_CALL, REQUEST.SET_VRING_ERR),
    anyVringFd.map(payloads.encodeU64),
  ),
  fc.tuple(
    fc.constantFrom(
      REQUEST.SET_VRING_NUM,
      REQUEST.SET_VRING_BASE,
      REQUEST.GET_VRING_BASE,
      REQUEST.SET_VRING_ENABLE,
      REQUEST.GET_VRING_BASE_SKIP_DRAIN,
    ),
    anyState,
  ),
  fc.tuple(fc.constant(REQUEST.SET_FEATURES), anyFeatures.map(payloads.encodeU64)),
  fc.tuple(fc.constant(REQUEST.SET_PROTOCOL_FEATURES), anyProtocolFeatures.map(payloads.encodeU64)),
  fc.tuple(fc.constantFrom(REQUEST.GET_INFLIGHT_FD, REQUEST.SET_INFLIGHT_FD), anyInflight),
  fc.tuple(
    fc.constant(REQUEST.SET_LOG_BASE),
    fc
      .tuple(anyPage, fc.constantFrom(0, 0, 4096, 5))
      .map(([size, offset]) => payloads.encodeLog({ size, offset })),
  ),
  fc.tuple(
    fc.constant(REQUEST.SET_DEVICE_STATE_FD),
    fc
      .tuple(fc.nat(2), fc.nat(1))
      .map(([direction, phase]) => payloads.encodeDeviceState({ direction, phase })),
  ),
  fc.tuple(fc.constant(REQUEST.SET_VRING_ADDR), anyAddresses),
  fc.tuple(fc.constantFrom(REQUEST.GET_CONFIG, REQUEST.SET_CONFIG), anyConfig),
  fc.tuple(fc.constantFrom(REQUEST.ADD_MEM_REG, REQUEST.REM_MEM_REG), anyRegion.map(payloads.encodeRegion)),
  fc.tuple(
    fc.constant(REQUEST.SET_MEM_TABLE),
    fc.array(anyRegion, { maxLength: 3 }).map(payloads.encodeRegions),
  ),
  fc.tuple(
    fc.constantFrom(
      REQUEST.GET_FEATURES,
      REQUEST.GET_PROTOCOL_FEATURES,
      REQUEST.GET_QUEUE_NUM,
      REQUEST.GET_MAX_MEM_SLOTS,
      REQUEST.GET_STATUS,
      REQUEST.SET_OWNER,
      REQUEST.RESET_OWNER,
      REQUEST.RESET_DEVICE,
      REQUEST.SET_BACKEND_REQ_FD,
      REQUEST.SET_LOG_FD,
      REQUEST.CHECK_DEVICE_STATE,
      REQUEST.GET_SHMEM_CONFIG,
    ),
    fc.constant(new Uint8Array()),
  ),
);

/** A request, and a payload that is nearly right; now and then any of them, with anything, which mostly ends the connection. */
export const anyPayload: fc.Arbitrary<[number, Uint8Array]> = fc.oneof(
  { weight: 40, arbitrary: likely },
  fc.tuple(fc.nat(46), fc.uint8Array({ maxLength: 64 })),
);

/** How many descriptors an honest front-end sends along, so that most messages get past the first check. */
export function honestFds(request: number, bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer);
  switch (request) {
    case REQUEST.SET_MEM_TABLE:
      return bytes.length < 4 ? 0 : view.getUint32(0, true);
    case REQUEST.ADD_MEM_REG:
    case REQUEST.SET_BACKEND_REQ_FD:
    case REQUEST.SET_LOG_BASE:
    case REQUEST.SET_LOG_FD:
    case REQUEST.SET_INFLIGHT_FD:
    case REQUEST.SET_DEVICE_STATE_FD:
      return 1;
    case REQUEST.SET_VRING_KICK:
    case REQUEST.SET_VRING_CALL:
    case REQUEST.SET_VRING_ERR:
      return bytes.length >= 8 && (view.getBigUint64(0, true) & 0x100n) === 0n ? 1 : 0;
    default:
      return 0;
  }
}

/** What comes with these is a file. */
const MEMORY_REQUESTS: ReadonlySet<number> = new Set([
  REQUEST.SET_MEM_TABLE,
  REQUEST.SET_LOG_BASE,
  REQUEST.SET_INFLIGHT_FD,
]);

type FdKind = 'memory' | 'kick' | 'call' | 'socket' | 'other';
const anyFdKind = fc.constantFrom<FdKind[]>('memory', 'kick', 'call', 'socket', 'other');

/** A message, mostly with what goes with it. */
const message: fc.Arbitrary<Step> = fc
  .tuple(
    anyPayload,
    fc.boolean(),
    fc.array(anyFdKind, { minLength: 3, maxLength: 3 }),
    fc.constantFrom(0, 0, 0, 0, 0, 0, 0, 1),
  )
  .map(([[request, bytes], needReply, kinds, extra]) => {
    const wanted = kinds.slice(0, honestFds(request, bytes) + extra);
    const about = `request ${request}, payload ${bytes}, ${wanted.length} descriptors${needReply ? ', with a reply' : ''}`;
    return named(about, (b, rings) => {
      const fds = wanted.map((kind) => descriptor(b, rings, MEMORY_REQUESTS.has(request) ? 'memory' : kind));
      b.frontend.send(request, bytes, { fds, needReply });
      for (const fd of fds) b.os.closeFd(fd);
    });
  });

/** A step that can be shown. */
function named(about: string, step: Step): Step {
  return Object.assign(step, { [fc.toStringMethod]: () => about });
}

function descriptor(b: Bench, rings: readonly BenchRing[], kind: FdKind): number {
  switch (kind) {
    case 'memory':
      return b.os.duplicate(b.memoryFd);
    case 'kick':
      return b.os.duplicate(rings[0]!.kick.fd);
    case 'call':
      return b.os.duplicate(rings[1]!.call.fd);
    case 'socket': {
      const [ours, theirs] = b.os.socketPair();
      b.os.closeFd(ours);
      return theirs;
    }
    case 'other':
      return b.os.createOther();
  }
}

/** What an honest front-end does, so that there is something to break. */
const honest: fc.Arbitrary<Step> = fc.oneof(
  fc.constant(named('negotiates', (b) => b.negotiate())),
  fc.constant(named('negotiates no features', (b) => b.negotiate(0n))),
  fc.nat(1).map((i) => named(`starts ring ${i}`, (_, rings) => rings[i]!.start())),
  fc
    .tuple(fc.nat(1), fc.boolean())
    .map(([i, on]) => named(`enables ring ${i}: ${on}`, (_, rings) => rings[i]!.enable(on))),
  fc.nat(1).map((i) => named(`stops ring ${i}`, (_, rings) => rings[i]!.stop())),
);

const world: fc.Arbitrary<Step> = fc.oneof(
  fc.tuple(fc.nat(1), fc.nat(255)).map(([i, byte]) =>
    named(`request ${byte} on ring ${i}`, (_, rings) => {
      if (rings[i]!.queue.free >= 2) rings[i]!.request(byte);
    }),
  ),
  fc.tuple(fc.nat(1), fc.nat(200), fc.uint8Array({ minLength: 1, maxLength: 16 })).map(([i, offset, bytes]) =>
    named(`the driver writes ${bytes} to ring ${i} at ${offset}`, (b, rings) => {
      const { queue, kick } = rings[i]!;
      b.memory.write((queue.descriptorArea + offset) as GuestAddress, bytes);
      kick.signal();
    }),
  ),
  fc.boolean().map((hold) =>
    named(`the device keeps what it takes: ${hold}`, (_b, _rings, device) => {
      device.hold = hold;
    }),
  ),
  fc.constant(named('the configuration changes', (_b, _rings, device) => device.host?.configChanged())),
  fc.nat(6).map((seconds) => named(`${seconds} s pass`, (b) => b.clock.advance(seconds * 1e9))),
  fc.constant(named('all comes to rest', (b) => b.os.run())),
);

/**
 * What such a front-end does, how well it begins, and how many bytes a read of its socket brings.
 *
 * @param steps - the most of them, and how near to it most sessions come.
 */
export function rudeSession(steps: fc.ArrayConstraints): fc.Arbitrary<[Step[], number, number]> {
  return fc.tuple(
    fc.array(fc.oneof({ weight: 3, arbitrary: message }, { weight: 3, arbitrary: honest }, world), {
      minLength: 1,
      ...steps,
    }),
    fc.nat(3),
    fc.constantFrom(1, 7, 65_536),
  );
}

/**
 * One connection of such a front-end: nothing is thrown, nothing hangs, and everything is given back.
 *
 * @returns whether its end found it alive, and whether its device was ever activated.
 */
export function rudeLife([all, start, readSize]: [Step[], number, number]): {
  survived: boolean;
  activated: boolean;
} {
  const device = new ProbeDevice();
  const b = new Bench(device);
  b.os.readSize = readSize;
  const rings = [b.ring(0), b.ring(1)];
  // Most begin as they should.
  if (start > 0) {
    b.negotiate();
    for (const ring of rings.slice(0, start)) ring.start();
    for (const ring of rings.slice(0, start)) ring.enable();
  }
  for (const step of all) step(b, rings, device);
  b.os.run();
  // Each ring that was stopped while the device held chains is waited for, one after the other.
  for (let stops = 0; stops <= all.length; stops++) {
    b.clock.advance(6e9);
    b.os.run();
  }
  const activated = device.calls.some((call) => call.startsWith('activate'));
  const survived = b.ended === undefined;
  if (survived) {
    // Still there: a device that was reset is as new.
    b.frontend.replies.length = 0;
    device.hold = false;
    const before = b.warnings.length;
    let answers = afterReset(b);
    // The inflight region that it gave may be one of smaller rings, or of packed ones: it gives another.
    if (b.warnings.slice(before).some((line) => /the inflight region is (for|one of)/.test(line))) {
      giveInflightRegion(b);
      answers = afterReset(b);
    }
    assert.deepEqual(answers, [42]);
  } else {
    assert.equal(b.ended?.error?.name, 'ProtocolError');
    assert.equal(b.frontend.closed, true);
  }
  b.close();
  assert.equal(b.os.openFds, 0);
  assert.equal(b.os.openMappings, 0);
  assert.equal(b.os.staleAccesses, 0);
  assert.equal(b.clock.open, 0);
  assert.equal(device.calls.at(-1), 'close');
  return { survived, activated };
}

/** What a device answers that was reset, on a ring of 8. */
function afterReset(b: Bench): number[] {
  b.say(REQUEST.RESET_DEVICE);
  b.negotiate(F_PROTOCOL_FEATURES);
  const fresh = b.ring(1);
  fresh.start();
  fresh.enable();
  fresh.request(42);
  return fresh.answers();
}

/** For rings of 8. */
function giveInflightRegion(b: Bench): void {
  b.say(REQUEST.SET_PROTOCOL_FEATURES, payloads.encodeU64(PROTOCOL_F.INFLIGHT_SHMFD));
  b.say(REQUEST.RESET_DEVICE);
  b.negotiate(F_PROTOCOL_FEATURES);
  const wanted = { mmapSize: 0, mmapOffset: 0, queues: 2, queueSize: 8 };
  b.frontend.kept = [];
  b.say(REQUEST.GET_INFLIGHT_FD, payloads.encodeInflight(wanted));
  const description = payloads.decodeInflight(b.frontend.take(REQUEST.GET_INFLIGHT_FD));
  b.say(REQUEST.SET_INFLIGHT_FD, payloads.encodeInflight(description), { fds: b.frontend.kept });
  for (const fd of b.frontend.kept) b.os.closeFd(fd);
  b.frontend.kept = undefined;
}
