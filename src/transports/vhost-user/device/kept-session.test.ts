import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Keep, KeptItem } from '../../keep.js';
import { encodeMessage } from '../codec.js';
import { F_PROTOCOL_FEATURES, PROTOCOL_F, REQUEST, VHOST_F_LOG_ALL, VHOST_VRING_F_LOG } from '../messages.js';
import { LOG_PAGE } from '../page-log.js';
import { encodeLog, encodeU64, encodeVringState } from '../payloads.js';
import { Bench, GUEST_START, MEMORY_SIZE } from '../testing/bench.js';
import { ProbeDevice } from '../testing/probe-device.js';
import { notesOf, ordered } from './records.js';

const state = (index: number, num = 0): Uint8Array => encodeVringState({ index, num });

test('a session whose process died goes on with the log of dirty pages, and with rings that messages started', () => {
  const b = new Bench(new ProbeDevice(1), undefined, true);
  const size = (GUEST_START + MEMORY_SIZE) / LOG_PAGE / 8;
  const { fd: logFd, mapping: log } = b.os.createMemory('log', size);
  const ring = b.ring(0);
  const { INBAND_NOTIFICATIONS, BACKEND_REQ, REPLY_ACK, LOG_SHMFD } = PROTOCOL_F;
  const said: [request: number, payload: Uint8Array, fds: readonly number[]][] = [
    [REQUEST.VRING_KICK, state(0), []],
    [REQUEST.SET_VRING_ENABLE, state(0, 1), []],
    [
      REQUEST.SET_VRING_ADDR,
      ring.addressesWith({ flags: VHOST_VRING_F_LOG, log: ring.queue.deviceArea }),
      [],
    ],
    [REQUEST.SET_VRING_NUM, state(0, ring.queue.size), []],
    [REQUEST.SET_LOG_BASE, encodeLog({ size, offset: 0 }), [logFd]],
    [REQUEST.SET_MEM_TABLE, b.memoryTable(), [b.memoryFd]],
    [REQUEST.SET_FEATURES, encodeU64(F_PROTOCOL_FEATURES | VHOST_F_LOG_ALL), []],
    [
      REQUEST.SET_PROTOCOL_FEATURES,
      encodeU64(INBAND_NOTIFICATIONS | BACKEND_REQ | REPLY_ACK | LOG_SHMFD),
      [],
    ],
  ];
  const kept: KeptItem[] = said.map(([request, payload, fds]) => {
    const message = { request, flags: 1, payload: new DataView(payload.slice().buffer), fds: [] };
    const key = notesOf(message, false).keep;
    assert.ok(key !== undefined, `${request}`);
    return { key, bytes: encodeMessage(request, 0, payload), fds: fds.map((fd) => b.os.duplicate(fd)) };
  });
  assert.equal(ordered(kept)[0]!.key, 'protocol');
  const keep: Keep = { kept, settle: () => {} };
  const device = new ProbeDevice(1);
  const next = new Bench(device, undefined, true, { os: b.os, keep });
  ring.request(7, false);
  next.say(REQUEST.VRING_KICK, state(0));
  assert.deepEqual(ring.answers(), [7]);
  assert.deepEqual(device.calls, ['activate 0']);
  let marked = 0;
  for (let at = 0; at < log.size; at++) marked += log.view.takeByte!(at) === 0 ? 0 : 1;
  assert.ok(marked > 0);
  assert.deepEqual(next.warnings, []);
  next.close();
  b.os.closeFd(logFd);
  log.release();
  b.close();
  assert.equal(b.os.openFds, 0);
  assert.equal(b.os.openMappings, 0);
});
