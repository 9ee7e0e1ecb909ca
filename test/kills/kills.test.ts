import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RingFeatures } from '../../src/virtio/ring-features.js';
import { surviveKills } from './killed.js';

/** `VIRTIO_MISC_KILLS=200` for the long way. */
const KILLS = Number(process.env.VIRTIO_MISC_KILLS ?? 20);

const RINGS: readonly [name: string, features: RingFeatures, queueSize?: number][] = [
  ['split', { packed: false, inOrder: false }],
  ['packed', { packed: true, inOrder: false }, 100],
  ['split, in order', { packed: false, inOrder: true }],
  ['packed, in order, no event indices', { packed: true, inOrder: true, eventIdx: false }, 77],
];

for (const [name, features, queueSize = 128] of RINGS) {
  const kills = features.inOrder ? Math.ceil(KILLS / 4) : KILLS;

  test(`a back-end that is killed at any time, with 32 requests outstanding: each is answered once, ${name}`, async (t) => {
    const { requests } = await surviveKills({ features, queueSize, kills });
    t.diagnostic(`${kills} kills, ${requests} requests, each answered once with its own answer`);
    assert.ok(requests >= 200);
  });
}
