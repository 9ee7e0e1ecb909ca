import assert from 'node:assert/strict';
import { virtioTest } from '../../src/devices/test/device.js';
import { openDriver } from '../../src/virtio/driver.js';
import type { DriverTransport, RingPlace } from '../../src/virtio/driver-transport.js';
import { VIRTIO_F_EVENT_IDX, VIRTIO_F_INDIRECT_DESC, VIRTIO_F_VERSION_1 } from '../../src/virtio/features.js';
import { VIRTQ_AVAIL_F_NO_INTERRUPT, VIRTQ_DESC_F_INDIRECT } from '../../src/virtqueue/split/layout.js';
import { RingWriter } from '../../src/virtqueue/testing/ring-writer.js';
import { RawRing } from './raw-ring.js';
import type { Cases } from './suite.js';

const CAN_PRINT = 1n;
/** Far from where these rings are. */
const ELSEWHERE = 0x4000;

/** A driver's look at its own ring: what it wrote there, after two requests. */
async function ringOf(
  transport: DriverTransport,
  { ringFeatures, offered }: { ringFeatures?: bigint; offered?: bigint },
): Promise<{ indirect: boolean; usedEvent: number; availFlags: number }> {
  let place: RingPlace | undefined;
  const seen = new Proxy(transport, {
    get(target, key) {
      if (key === 'startQueue') {
        return (...call: Parameters<DriverTransport['startQueue']>) => {
          place = call[1];
          return target.startQueue(...call);
        };
      }
      if (key === 'offeredFeatures' && offered !== undefined) {
        return async () => (await target.offeredFeatures()) & offered;
      }
      const value = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  const driver = await openDriver(seen, {
    id: 45,
    features: CAN_PRINT,
    queues: 1,
    ...(ringFeatures === undefined ? {} : { ringFeatures }),
  });
  for (let i = 0; i < 2; i++) await driver.queues[0]!.request(new Uint8Array(48), 12);
  const { size, descriptorArea } = place!;
  const table = transport.memory.view(descriptorArea, 16 * size);
  const { usedEvent, availFlags } = new RingWriter({ memory: transport.memory, ...place! });
  const indirect = Array.from({ length: size }, (_, i) => table.read16(16 * i + 12)).some(
    (flags) => (flags & VIRTQ_DESC_F_INDIRECT) !== 0,
  );
  await driver.close();
  return { indirect, usedEvent, availFlags };
}

/** Ring features are in force exactly where they were negotiated, at both ends (VIRTIO 1.3 §6). */
export const ringCases: Cases = {
  make: virtioTest(),
  command: ['test'],
  cases: {
    async '2.7.5.3.1: an indirect table is followed where that was negotiated'({ connect }) {
      const transport = await connect();
      const ring = await RawRing.start(transport, CAN_PRINT | VIRTIO_F_INDIRECT_DESC);
      ring.send({ indirect: true });
      await ring.until(() => ring.writer.usedIndex === 1);
      assert.deepEqual(ring.writer.used(0), { id: 0, len: 12 });
      transport.close();
    },

    async '2.7.5.3.1: an indirect table breaks the queue where it was not'({ connect }) {
      const transport = await connect();
      const ring = await RawRing.start(transport, CAN_PRINT | VIRTIO_F_EVENT_IDX);
      ring.send({ indirect: true });
      await ring.broken();
      assert.equal(ring.writer.usedIndex, 0);
      transport.close();
    },

    async '2.7.7.2: without EVENT_IDX the flag alone suppresses interrupts'({ connect }) {
      const transport = await connect();
      const ring = await RawRing.start(transport, CAN_PRINT | VIRTIO_F_INDIRECT_DESC, (writer) => {
        writer.usedEvent = ELSEWHERE;
      });
      await ring.answered();
      await ring.until(() => ring.interrupts === 1);
      ring.writer.availFlags = VIRTQ_AVAIL_F_NO_INTERRUPT;
      await ring.answered();
      assert.equal(ring.interrupts, 1);
      ring.writer.availFlags = 0;
      await ring.answered();
      await ring.until(() => ring.interrupts === 2);
      transport.close();
    },

    async '2.7.7.2: with EVENT_IDX used_event alone does'({ connect }) {
      const transport = await connect();
      const ring = await RawRing.start(transport, CAN_PRINT | VIRTIO_F_EVENT_IDX, (writer) => {
        writer.availFlags = VIRTQ_AVAIL_F_NO_INTERRUPT;
      });
      await ring.answered();
      await ring.until(() => ring.interrupts === 1);
      await ring.answered();
      assert.equal(ring.interrupts, 1);
      ring.writer.usedEvent = 2;
      await ring.answered();
      await ring.until(() => ring.interrupts === 2);
      transport.close();
    },

    async '2.7.10.1: without EVENT_IDX the device leaves avail_event alone'({ connect }) {
      const transport = await connect();
      const ring = await RawRing.start(transport, CAN_PRINT, (writer) => {
        writer.availEvent = ELSEWHERE;
      });
      await ring.answered();
      await ring.until(() => ring.writer.usedFlags === 0);
      assert.equal(ring.writer.availEvent, ELSEWHERE);
      transport.close();
    },

    async '2.7.10.1: with EVENT_IDX it says there from where on it wants a kick'({ connect }) {
      const transport = await connect();
      const ring = await RawRing.start(transport, CAN_PRINT | VIRTIO_F_EVENT_IDX, (writer) => {
        writer.availEvent = ELSEWHERE;
      });
      await ring.answered();
      await ring.until(() => ring.writer.availEvent === 1);
      assert.equal(ring.writer.usedFlags, 0);
      transport.close();
    },

    async 'a driver uses both features where the device has them'({ connect }) {
      const { indirect, usedEvent } = await ringOf(await connect(), {});
      assert.equal(indirect, true);
      assert.notEqual(usedEvent, 0);
    },

    async 'a driver that does not ask for them writes rings without them'({ connect }) {
      const ring = await ringOf(await connect(), { ringFeatures: 0n });
      assert.deepEqual(
        { indirect: ring.indirect, usedEvent: ring.usedEvent },
        { indirect: false, usedEvent: 0 },
      );
    },

    async 'a driver whose device does not offer them writes rings without them'({ connect }) {
      const ring = await ringOf(await connect(), { offered: CAN_PRINT | VIRTIO_F_VERSION_1 });
      assert.deepEqual(
        { indirect: ring.indirect, usedEvent: ring.usedEvent },
        { indirect: false, usedEvent: 0 },
      );
    },
  },
};
