import assert from 'node:assert/strict';
import { test } from 'node:test';
import { numbersOf } from '../testing/numbers-of.js';
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
