import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VIRTIO_F_VERSION_1 } from '../../../virtio/features.js';
import { F_PROTOCOL_FEATURES, PROTOCOL_F, REQUEST, VHOST_F_LOG_ALL, VHOST_VRING_F_LOG } from '../messages.js';
import { LOG_PAGE } from '../page-log.js';
import { decodeLog, decodeVringAddress, encodeU64 } from '../payloads.js';
import { during, openProbe, Pair, RING } from '../testing/frontend-bench.js';
import { ProbeDevice } from '../testing/probe-device.js';

test('startLog: SET_LOG_BASE, F_LOG_ALL and the address of each ring, which stopLog takes back', async () => {
  const p = new Pair({ features: VIRTIO_F_VERSION_1 | VHOST_F_LOG_ALL });
  assert.equal(await p.during(p.frontend.offeredFeatures()), VIRTIO_F_VERSION_1);
  await p.open();
  for (const on of [true, false]) {
    p.backend.heard.length = 0;
    p.backend.fds.length = 0;
    await p.during(on ? p.frontend.startLog() : p.frontend.stopLog());
    const base = on ? [REQUEST.SET_LOG_BASE] : [];
    assert.deepEqual(p.backend.requests, [...base, REQUEST.SET_FEATURES, REQUEST.SET_VRING_ADDR]);
    assert.deepEqual(p.backend.fds, [...base.map(() => 1), 0, 0]);
    const [features, ring] = p.backend.heard.slice(-2).map(({ payload }) => payload) as [DataView, DataView];
    const log = on ? VHOST_F_LOG_ALL : 0n;
    assert.equal(features.getBigUint64(0, true), VIRTIO_F_VERSION_1 | F_PROTOCOL_FEATURES | log);
    const address = decodeVringAddress(ring);
    assert.equal(address.flags, on ? VHOST_VRING_F_LOG : 0);
    assert.equal(address.log, RING.deviceArea);
    if (!on) continue;
    const { size, offset } = decodeLog(p.backend.heard[0]!.payload)!;
    assert.equal(offset, 0);
    assert.ok(size * 8 * LOG_PAGE >= 0x1_0000_0000 + (1 << 20), 'it covers all memory');
  }
  p.finish();
});

test('startLog: a back-end that has no log, or refuses it, is said to', async () => {
  const scripts = [
    { features: VIRTIO_F_VERSION_1 },
    { features: VIRTIO_F_VERSION_1 | VHOST_F_LOG_ALL, protocolFeatures: PROTOCOL_F.REPLY_ACK },
    {
      features: VIRTIO_F_VERSION_1 | VHOST_F_LOG_ALL,
      reply: ({ request }: { request: number }) =>
        request === REQUEST.SET_LOG_BASE ? encodeU64(0x101n) : undefined,
    },
  ];
  for (const script of scripts) {
    const p = new Pair(script);
    await p.open();
    await assert.rejects(p.during(p.frontend.startLog()), { name: 'TransportError', code: 'REFUSED' });
    assert.deepEqual(p.frontend.takeDirtyPages(), []);
    assert.equal(p.os.openMappings, 1);
    p.finish();
  }
});

test('with our own back-end: the pages that it writes to come out, once, and none after stopLog', async () => {
  const device = new ProbeDevice(2);
  const { os, driver, frontend } = await openProbe(device);
  assert.deepEqual(frontend.takeDirtyPages(), []);
  await during(os, frontend.startLog());
  await during(os, driver.queues[0]!.request(Uint8Array.of(1), 1));
  const pages = frontend.takeDirtyPages();
  assert.ok(pages.length > 0);
  for (const page of pages) assert.ok(frontend.memory.covers(page, LOG_PAGE));
  assert.deepEqual(frontend.takeDirtyPages(), []);
  await during(os, driver.queues[1]!.request(Uint8Array.of(1), 1));
  assert.ok(frontend.takeDirtyPages().length > 0);
  await during(os, frontend.stopLog());
  await during(os, driver.queues[0]!.request(Uint8Array.of(2), 1));
  assert.deepEqual(frontend.takeDirtyPages(), []);
  await during(os, frontend.startLog());
  await during(os, driver.queues[0]!.request(Uint8Array.of(3), 1));
  assert.ok(frontend.takeDirtyPages().length > 0);
  await during(os, driver.close());
  os.run();
  assert.equal(os.openFds, 0);
  assert.equal(os.openMappings, 0);
  assert.equal(os.staleAccesses, 0);
});
