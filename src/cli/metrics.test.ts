import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Metrics } from './metrics.js';

test('front-ends of several devices are counted, also where they have the same number', async () => {
  const metrics = new Metrics();
  const one = { connection: 1, socket: '/run/one', transport: 'vhost-user' } as const;
  const other = { connection: 1, socket: '/run/other', transport: 'vfio-user' } as const;
  const connected = async (): Promise<readonly string[]> =>
    (await metrics.text()).split('\n').filter((line) => line.startsWith('virtio_misc_connections{'));
  metrics.came('a', one);
  metrics.came('b', other);
  // Another process serves it now.
  metrics.came('a', one);
  assert.deepEqual(await connected(), [
    'virtio_misc_connections{device="a",transport="vhost-user"} 1',
    'virtio_misc_connections{device="b",transport="vfio-user"} 1',
  ]);
  metrics.gone(other);
  assert.deepEqual(await connected(), [
    'virtio_misc_connections{device="a",transport="vhost-user"} 1',
    'virtio_misc_connections{device="b",transport="vfio-user"} 0',
  ]);
});
