import assert from 'node:assert/strict';
import fc from 'fast-check';
import { ProbeDevice } from '../../pci/testing/probe-device.js';
import * as codec from '../codec.js';
import { encodeFeature, encodeLoggingReport, encodeMigData, encodeMigState } from '../feature-codec.js';
import { encodeMessage } from '../framing.js';
import * as wire from '../messages.js';
import { RawClient } from './raw-client.js';
import { MEMORY_SIZE, MEMORY_START, NOTIFY, number, RawDriver } from './raw-driver.js';

/** What goes with a message. */
type Fd = 'event' | 'memory' | 'other';

/** One thing that a client without manners does. */
export type Step =
  | { kind: 'bytes'; bytes: Uint8Array }
  | { kind: 'message'; command: number; flags: number; payload: Uint8Array; fds: Fd[] }
  | { kind: 'driver'; shared: boolean }
  | { kind: 'request' }
  | { kind: 'dma'; answer: 'honest' | 'error' | 'short' | 'slow' | 'reset' | 'unmap' }
  | { kind: 'time'; ns: number };

const fds = fc.array(fc.constantFrom<Fd>('event', 'memory', 'other'), { maxLength: 4 });
const small = fc.oneof(fc.nat(8), fc.nat(0xff), fc.constantFrom(0xffff, 0x7fff_ffff, 0xffff_ffff));

/** Payloads that are nearly right, which get further than random bytes. */
export const anyPayload: fc.Arbitrary<[number, Uint8Array]> = fc.oneof(
  fc
    .record({ flags: fc.nat(7), offset: fc.nat(0x3000), address: small, size: small })
    .map((map): [number, Uint8Array] => [
      wire.VFIO_USER_DMA_MAP,
      codec.encodeDmaMap({
        ...map,
        address: (map.address * 0x1000) as codec.DmaMap['address'],
        size: map.size * 0x1000,
      }),
    ]),
  fc.record({ flags: fc.nat(3), address: small, size: small }).map((unmap): [number, Uint8Array] => [
    wire.VFIO_USER_DMA_UNMAP,
    codec.encodeDmaUnmap({
      flags: unmap.flags,
      address: (unmap.address * 0x1000) as codec.DmaMap['address'],
      size: unmap.size * 0x1000,
    }),
  ]),
  fc
    .record({
      flags: fc
        .tuple(fc.constantFrom(1, 2, 4, 7), fc.constantFrom(8, 0x10, 0x20, 0x38))
        .map(([a, b]) => a | b),
      index: fc.nat(6),
      start: fc.nat(4),
      count: fc.nat(5),
      bools: fc.uint8Array({ maxLength: 5 }),
    })
    .map((set): [number, Uint8Array] => [wire.VFIO_USER_DEVICE_SET_IRQS, codec.encodeIrqSet(set)]),
  fc
    .tuple(fc.nat(9), fc.nat(0x120), fc.uint8Array({ minLength: 1, maxLength: 16 }))
    .map(([region, offset, data]): [number, Uint8Array] => [
      wire.VFIO_USER_REGION_WRITE,
      new Uint8Array([...codec.encodeRegionAccess({ region, offset, count: data.length }), ...data]),
    ]),
  fc
    .record({ region: fc.nat(9), offset: fc.nat(0x1100), count: fc.nat(300) })
    .map((access): [number, Uint8Array] => [wire.VFIO_USER_REGION_READ, codec.encodeRegionAccess(access)]),
  fc
    .tuple(fc.nat(9), fc.constantFrom(0, 16, 100, 4096))
    .map(([region, room]): [number, Uint8Array] => [
      wire.VFIO_USER_DEVICE_GET_REGION_IO_FDS,
      codec.encodeIndex(region, wire.VFIO_USER_DEVICE_GET_REGION_IO_FDS, room),
    ]),
  fc
    .tuple(
      fc.constantFrom(0, 1, 2, 3, 6, 7, 8),
      fc.constantFrom(1, 2, 3, 4, 5, 6).map((operations) => operations * 0x1_0000),
      fc.oneof(
        fc.uint8Array({ maxLength: 40 }),
        fc.nat(8).map(encodeMigState),
        fc
          .tuple(small, small, fc.constantFrom(0, 1024, 4096, 5000, 0x1_0000))
          .map(([address, length, pageSize]) =>
            encodeLoggingReport({ address: (address * 0x1000) as never, length: length * 0x1000, pageSize }),
          ),
      ),
    )
    .map(([feature, operations, data]): [number, Uint8Array] => [
      wire.VFIO_USER_DEVICE_FEATURE,
      encodeFeature(feature, operations, data, 4096),
    ]),
  fc
    .record({ address: small, size: small, pageSize: small, bytes: small })
    .map(({ address, size, pageSize, bytes }): [number, Uint8Array] => [
      wire.VFIO_USER_DMA_UNMAP,
      codec.encodeDmaUnmap({
        flags: wire.VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP,
        address: (address * 0x1000) as codec.DmaMap['address'],
        size: size * 0x1000,
        bitmap: { pageSize, size: bytes },
      }),
    ]),
  fc
    .tuple(fc.boolean(), small, fc.uint8Array({ maxLength: 64 }))
    .map(([read, size, data]): [number, Uint8Array] => [
      read ? wire.VFIO_USER_MIG_DATA_READ : wire.VFIO_USER_MIG_DATA_WRITE,
      new Uint8Array([...encodeMigData(read ? size : data.length), ...data]),
    ]),
  fc.tuple(fc.nat(18), fc.uint8Array({ maxLength: 64 })),
);

/** Any step but noise. */
export const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc
      .tuple(anyPayload, fc.constantFrom(0, 0, 0, 0x10, 1, 0x21), fds)
      .map(([[command, bytes], flags, kinds]) => ({
        kind: 'message' as const,
        command,
        flags,
        payload: bytes,
        fds: kinds,
      })),
  },
  fc.record({ kind: fc.constant('driver' as const), shared: fc.boolean() }),
  { weight: 2, arbitrary: fc.constant({ kind: 'request' as const }) },
  fc.record({
    kind: fc.constant('dma' as const),
    answer: fc.constantFrom('honest', 'error', 'short', 'slow', 'reset', 'unmap'),
  }),
  fc.record({ kind: fc.constant('time' as const), ns: fc.nat(1e9) }),
);
/** Noise. */
export const garbage: fc.Arbitrary<Step> = fc.record({
  kind: fc.constant('bytes' as const),
  bytes: fc.uint8Array({ minLength: 1, maxLength: 80 }),
});

class Attack {
  readonly device = new ProbeDevice();
  readonly client = new RawClient(this.device);
  #driver: RawDriver | undefined;
  /** The test's own memories. */
  #mappings = 0;

  constructor() {
    this.client.negotiate();
  }

  do(one: Step): void {
    const { client } = this;
    if (client.ended !== undefined) return;
    switch (one.kind) {
      case 'bytes':
        client.raw(one.bytes);
        break;
      case 'message': {
        const open = one.fds.map((kind) => this.#open(kind));
        client.raw(encodeMessage(9, one.command, one.flags, [one.payload]), open);
        for (const fd of open) client.os.closeFd(fd);
        break;
      }
      case 'driver':
        this.#start(one.shared);
        break;
      case 'request':
        this.#request();
        break;
      case 'dma':
        this.#setAnswer(one.answer);
        break;
      case 'time':
        client.clock.advance(one.ns);
        break;
    }
    client.os.run();
  }

  /** Hangs up, and sees that nothing stays behind. */
  finish(): void {
    const { client } = this;
    client.hangUp();
    assert.notEqual(client.ended, undefined);
    assert.equal(this.device.calls.at(-1), 'close');
    assert.equal(client.os.openFds, 0);
    assert.equal(client.os.openMappings, this.#mappings);
    assert.equal(client.os.staleAccesses, 0);
    assert.equal(client.clock.open, 0);
  }

  #open(kind: Fd): number {
    const { os } = this.client;
    if (kind === 'other') return os.createOther();
    if (kind === 'memory') {
      const { fd, mapping } = os.createMemory('fuzz', 0x8000);
      mapping.release();
      return fd;
    }
    const event = os.createEvent();
    const fd = os.duplicate(event.fd);
    event.close();
    return fd;
  }

  #start(shared: boolean): void {
    const { client } = this;
    const flags = wire.VFIO_DMA_UNMAP_FLAG_ALL;
    client.send(wire.VFIO_USER_DMA_UNMAP, codec.encodeDmaUnmap({ flags, address: 0 as never, size: 0 }));
    client.memory.fill(0);
    client.os.run();
    if (client.ended !== undefined) return;
    this.#driver = new RawDriver(client, shared);
    if (shared) this.#mappings += 1;
    this.#driver.start();
  }

  #request(): void {
    if (this.#driver === undefined) return;
    try {
      this.#driver.add(Uint8Array.of(1, 2, 3), 3);
    } catch {
      // The ring is full of what was never answered.
      return;
    }
    this.client.write(0, NOTIFY, number(2, 0), true);
  }

  #setAnswer(answer: Extract<Step, { kind: 'dma' }>['answer']): void {
    const { client } = this;
    client.answerDma = (message) => {
      switch (answer) {
        case 'error':
          return { errno: 14 };
        case 'short':
          return { payload: new Uint8Array(3) };
        case 'slow':
          client.clock.advance(2e9);
          break;
        case 'reset':
          client.send(wire.VFIO_USER_DEVICE_RESET);
          break;
        case 'unmap':
          client.send(
            wire.VFIO_USER_DMA_UNMAP,
            codec.encodeDmaUnmap({ flags: 0, address: MEMORY_START, size: MEMORY_SIZE }),
          );
          break;
      }
      client.answer(message);
      return undefined;
    };
  }
}

/** One connection of such a client, from its beginning to its end: nothing is thrown, and nothing stays behind. */
export function attack(steps: readonly Step[]): void {
  const one = new Attack();
  for (const each of steps) one.do(each);
  one.finish();
}
