import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeIotlb, type IotlbMessage } from '../iotlb-message.js';
import { IOTLB_TYPE } from '../messages.js';
import { FrontendIommu } from './iommu.js';

const START = 0x1_0000_0000;
const SIZE = 0x5000;
const USER = 0x7f00_0000_0000;

function miss(iova: number, type: number = IOTLB_TYPE.MISS): IotlbMessage {
  return { type, iova, size: 0, userAddress: 0, access: 1 };
}

function decoded(bytes: Uint8Array | undefined): IotlbMessage {
  return decodeIotlb(new DataView(bytes!.buffer));
}

test('vu-iommu: a miss is answered with the piece of memory that it lies in, of which no byte is outside', () => {
  for (const [granule, iova, offset, size] of [
    [4096, START, 0, 4096],
    [4096, START + 0x1fff, 0x1000, 4096],
    [4096, START + 0x4fff, 0x4000, 4096],
    [0x4000, START + 0x4000, 0x4000, 0x1000],
    [2 ** 52, START + 0x3000, 0, SIZE],
  ] as const) {
    const update = decoded(new FrontendIommu(START, SIZE, granule).updateFor(miss(iova), USER));
    assert.deepEqual(update, {
      type: IOTLB_TYPE.UPDATE,
      iova: START + offset,
      size,
      userAddress: USER + offset,
      access: 3,
    });
  }
});

test('vu-iommu: a front-end sends nothing for an address that is no memory, nor for what is no miss', () => {
  const iommu = new FrontendIommu(START, SIZE, 4096);
  for (const iova of [START - 1, START + SIZE, 0, Number.NaN]) {
    assert.equal(iommu.updateFor(miss(iova), USER), undefined);
  }
  for (const type of [IOTLB_TYPE.UPDATE, IOTLB_TYPE.INVALIDATE, IOTLB_TYPE.ACCESS_FAIL, 0, 255]) {
    assert.equal(iommu.updateFor(miss(START, type), USER), undefined);
  }
  for (const granule of [0, 2048, 5000, Number.NaN]) {
    assert.throws(() => new FrontendIommu(START, SIZE, granule), RangeError);
  }
});

test('vu-iommu: translations are taken back, all of them unless told', () => {
  const iommu = new FrontendIommu(START, SIZE, 4096);
  const said = [iommu.invalidation(), iommu.invalidation(START + 4096, 1)].map(decoded);
  assert.deepEqual(
    said.map(({ type, iova, size }) => [type, iova, size]),
    [
      [IOTLB_TYPE.INVALIDATE, START, SIZE],
      [IOTLB_TYPE.INVALIDATE, START + 4096, 1],
    ],
  );
});
