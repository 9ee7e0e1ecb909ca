import assert from 'node:assert/strict';
import { test } from 'node:test';
import { numbersOf } from '../testing/numbers-of.js';
import * as inflight from './inflight-layout.js';
import * as layout from './layout.js';

/*
 * Both ends take their numbers from the same table, so no test of one against the other sees a wrong one: here each stands once
 * more, as its document has it.
 */

test('VIRTIO 1.3 §2.8: the packed virtqueue', () => {
  assert.deepEqual(numbersOf(layout), {
    AREA_ALIGNMENT: { descriptor: 0x10, driver: 4, device: 4 },
    FRESH_BASE: 2 ** 31 + 2 ** 15,
    MAX_QUEUE_SIZE: 2 ** 15,
    OWNER_FLAGS: 0x8080,
    PVIRTQ_DESC: { addr: 0, len: 8, id: 0xc, flags: 0xe },
    PVIRTQ_DESC_SIZE: 0x10,
    PVIRTQ_EVENT_SUPPRESS: { desc: 0, flags: 2 },
    PVIRTQ_EVENT_SUPPRESS_SIZE: 4,
    RING_EVENT_FLAGS_DESC: 2,
    RING_EVENT_FLAGS_DISABLE: 1,
    RING_EVENT_FLAGS_ENABLE: 0,
    VIRTQ_DESC_F_AVAIL: 1 << 7,
    VIRTQ_DESC_F_INDIRECT: 4,
    VIRTQ_DESC_F_NEXT: 1,
    VIRTQ_DESC_F_USED: 1 << 15,
    VIRTQ_DESC_F_WRITE: 2,
  });
});

test('vhost-user Inflight I/O tracking: the region of a packed queue', () => {
  assert.deepEqual(numbersOf(inflight), {
    DESC_STATE_PACKED: {
      inflight: 0,
      next: 2,
      last: 4,
      num: 6,
      counter: 8,
      id: 0x10,
      flags: 0x12,
      len: 0x14,
      addr: 0x18,
    },
    DESC_STATE_PACKED_SIZE: 0x20,
    QUEUE_REGION_PACKED: {
      free_head: 0xc,
      old_free_head: 0xe,
      used_idx: 0x10,
      old_used_idx: 0x12,
      used_wrap_counter: 0x14,
      old_used_wrap_counter: 0x15,
      desc: 0x20,
    },
  });
  assert.deepEqual([1, 2, 3, 128].map(inflight.packedRegionSize), [64, 128, 128, 4160]);
});
