import { test } from 'node:test';
import type { RingFeatures } from '../../src/virtio/ring-features.js';
import { surviveKills } from './killed.js';

/** A request takes some 20 stores, and the first of a life some more. */
const STORES = Number(process.env.VIRTIO_MISC_KILL_STORES ?? 16);

const RINGS: readonly [name: string, features: RingFeatures][] = [
  ['split', { packed: false, inOrder: false }],
  ['packed, in order', { packed: true, inOrder: true }],
];

for (const [name, features] of RINGS) {
  test(`a back-end that is killed after its first store to what it shares, its second, its third: each request is answered once, ${name}`, async (t) => {
    const { requests } = await surviveKills({
      features,
      kills: STORES + 1,
      queueSize: 64,
      dieAt: (nth) => nth - 1,
    });
    t.diagnostic(`${STORES + 1} kills, ${requests} requests, each answered once with its own answer`);
  });
}
