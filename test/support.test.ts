import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { vhostUserObstacle } from '../src/cli/qemu-args.js';
import { virtioMisc, virtioTest } from '../src/index.js';
import { PROTOCOL_F } from '../src/transports/vhost-user/messages.js';
import * as features from '../src/virtio/features.js';
import { ALL_RING_FEATURES, featureBits } from '../src/virtio/features.js';
import { STOCK_KERNELS } from '../src/vm/stock-kernel.js';

// README.md must not promise what the code does not do, nor keep quiet about what it does.

const root = new URL('../../', import.meta.url);
const readme = readFileSync(new URL('README.md', root), 'utf8');
const table = new Map(
  [...readme.matchAll(/^\| ([^|]+?) \| ([^|]+?) \|$/gm)].map((row) => [row[1]!, row[2]!] as const),
);

/** `NAME (bit)` of each mask. */
function named(masks: Readonly<Record<string, bigint>>): string[] {
  return Object.entries(masks).map(
    ([name, mask]) => `${name.replace('VIRTIO_F_', '')} (${featureBits(mask)[0]})`,
  );
}

const listed = (row: string): string[] =>
  [...table.get(row)!.matchAll(/[\w-]+ \(\d+\)/g)].map(([entry]) => entry);

test('ring features', () => {
  const offered = Object.fromEntries(
    Object.entries(features).filter(
      (entry): entry is [string, bigint] =>
        typeof entry[1] === 'bigint' &&
        entry[0].startsWith('VIRTIO_F_') &&
        (entry[1] & ALL_RING_FEATURES) !== 0n,
    ),
  );
  assert.deepEqual(listed('ring features').sort(), named(offered).sort());
});

test('vhost-user protocol features', () => {
  assert.deepEqual(listed('vhost-user protocol features'), named(PROTOCOL_F));
});

test('devices', () => {
  assert.deepEqual(
    listed('devices'),
    [virtioTest()(), virtioMisc()()].map(({ name, id }) => `${name} (${id})`),
  );
});

test('the virtio ids that stock QEMU takes over vhost-user', () => {
  const taken = Array.from({ length: 128 }, (_, id) => id).filter(
    (id) => vhostUserObstacle({ ...virtioTest()(), id }) === undefined,
  );
  assert.deepEqual(taken, [...Array.from({ length: 42 }, (_, id) => id), 45]);
  assert.equal(table.get('vhost-user with stock QEMU'), 'virtio ids up to 41, and 45');
});

test('Node.js', () => {
  const { engines } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8')) as {
    engines: { node: string };
  };
  assert.equal(`>=${table.get('Node.js')!.split(',')[0]}`, engines.node);
});

test('guest kernels', () => {
  const [kernels, flavours] = table.get('guest')!.split(': ') as [string, string];
  const names = [...kernels.matchAll(/\b(\d+\.\d+|newest)\b/g)].map(([name]) => name);
  const suffixes = flavours.includes('cloud and standard') ? ['', '-standard'] : [''];
  assert.deepEqual(
    names.flatMap((name) => suffixes.map((suffix) => `${name}${suffix}`)),
    Object.keys(STOCK_KERNELS),
  );
});
