import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as region from '../inflight.js';
import { numbersOf } from '../testing/numbers-of.js';
import * as inflight from './inflight-layout.js';
import * as layout from './layout.js';

/*
 * Both ends take their numbers from the same table, so no test of one against the other sees a wrong one: here each stands once
 * more, as its document has it.
 */

test('VIRTIO 1.3 §2.7: the split virtqueue', () => {
  assert.deepEqual(numbersOf(layout), {
    AREA_ALIGNMENT: { descriptor: 0x10, driver: 2, device: 4 },
    MAX_QUEUE_SIZE: 0x8000,
    VIRTQ_AVAIL: { flags: 0, idx: 2, ring: 4 },
    VIRTQ_AVAIL_F_NO_INTERRUPT: 1,
    VIRTQ_DESC: { addr: 0, len: 8, flags: 0xc, next: 0xe },
    VIRTQ_DESC_F_INDIRECT: 4,
    VIRTQ_DESC_F_NEXT: 1,
    VIRTQ_DESC_F_WRITE: 2,
    VIRTQ_DESC_SIZE: 0x10,
    VIRTQ_USED: { flags: 0, idx: 2, ring: 4 },
    VIRTQ_USED_ELEM: { id: 0, len: 4 },
    VIRTQ_USED_ELEM_SIZE: 8,
    VIRTQ_USED_F_NO_NOTIFY: 1,
  });
});

test('vhost-user Inflight I/O tracking: the region of a split queue', () => {
  assert.deepEqual(numbersOf(inflight), {
    DESC_STATE_SPLIT: { inflight: 0, next: 6, counter: 8 },
    DESC_STATE_SPLIT_SIZE: 0x10,
    QUEUE_REGION_SPLIT: { last_batch_head: 0xc, used_idx: 0xe, desc: 0x10 },
  });
  assert.deepEqual([1, 3, 4, 128].map(inflight.splitRegionSize), [64, 64, 128, 2112]);
});

test('vhost-user Inflight I/O tracking: what regions of both layouts begin with', () => {
  assert.deepEqual(numbersOf(region), {
    INFLIGHT_ALIGNMENT: 0x40,
    INFLIGHT_VERSION: 1,
    IN_ORDER_SO_FAR: 1,
    QUEUE_REGION: { features: 0, version: 8, desc_num: 0xa },
    VERSION_AND_ENTRIES: 2,
  });
});
