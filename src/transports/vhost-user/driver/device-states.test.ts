import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VIRTIO_F_VERSION_1 } from '../../../virtio/features.js';
import type { Message } from '../codec.js';
import { PROTOCOL_F, REQUEST, STATE_DIRECTION } from '../messages.js';
import { decodeDeviceState, encodeU64 } from '../payloads.js';
import { ALL, during, openProbe, Pair } from '../testing/frontend-bench.js';
import { ProbeDevice } from '../testing/probe-device.js';

/** A probe with a state. */
class Saving extends ProbeDevice {
  state: unknown = undefined;
  save(): unknown {
    return this.state;
  }
  restore(state: unknown): void {
    this.state = state;
  }
}

test('with our own back-end: a device goes on in another one, and the queues where they stopped', async () => {
  const [from, to] = [new Saving(2), new Saving(2)];
  const warnings: string[] = [];
  const source = await openProbe(from, (line) => warnings.push(line));
  const target = await openProbe(to, (line) => warnings.push(line));
  from.state = { numbers: [1, 2, 3], bulk: new Uint8Array(100_000).fill(5) };
  await during(source.os, source.driver.queues[0]!.request(Uint8Array.of(1), 1));
  await assert.rejects(during(source.os, source.frontend.saveState()), /refused SET_DEVICE_STATE_FD/);
  await during(source.os, source.frontend.pause());
  const state = await during(source.os, source.frontend.saveState());
  await during(source.os, source.frontend.resume());
  assert.deepEqual(
    [...(await during(source.os, source.driver.queues[0]!.request(Uint8Array.of(2), 1)))],
    [2],
  );
  assert.deepEqual(from.calls, ['activate 3']);

  await during(target.os, target.frontend.pause());
  await during(target.os, target.frontend.loadState(state));
  await during(target.os, target.frontend.resume());
  assert.deepEqual(
    [...(await during(target.os, target.driver.queues[1]!.request(Uint8Array.of(3), 1)))],
    [3],
  );
  assert.deepEqual(to.state, from.state);
  await during(target.os, target.frontend.pause());
  await assert.rejects(during(target.os, target.frontend.loadState(Uint8Array.of(1))), {
    code: 'REFUSED',
    message: "the back-end could not load the device's state",
  });
  assert.equal(warnings.length, 2);
  for (const { os, driver } of [source, target]) {
    await during(os, driver.close());
    os.run();
    assert.equal(os.openFds, 0);
    assert.equal(os.openMappings, 0);
  }
});

test('a back-end that has a pipe of its own: that is used, and ours is closed', async () => {
  const p: Pair = new Pair({
    features: VIRTIO_F_VERSION_1,
    reply: ({ request, payload }: Message) => {
      if (request !== REQUEST.SET_DEVICE_STATE_FD) return undefined;
      const { reader, writer } = p.os.createPipe();
      const saving = decodeDeviceState(payload).direction === STATE_DIRECTION.SAVE;
      if (saving) p.os.writePipe(writer, Uint8Array.of(1, 2, 3), () => {});
      else p.os.readPipe(reader, 10, (result) => heard.push(result));
      const fd = saving ? reader : writer;
      p.backend.replyFds = [fd];
      return encodeU64(0n);
    },
  });
  const heard: (Uint8Array | Error)[] = [];
  await p.open();
  assert.deepEqual([...(await p.during(p.frontend.saveState()))], [1, 2, 3]);
  await p.during(p.frontend.loadState(Uint8Array.of(9)));
  assert.deepEqual(heard, [Uint8Array.of(9)]);
  p.finish();
});

test('a back-end that refuses it, contradicts itself or has none of it: REFUSED, and nothing stays open', async () => {
  const scripts: { value?: bigint; fds?: number; protocolFeatures?: bigint; check?: bigint }[] = [
    { value: 0x101n },
    { value: 1n },
    { value: 0n, fds: 0 },
    { value: 0x101n, fds: 1 },
    { value: 0x100n, fds: 2 },
    { value: 0x100n, check: 1n },
    { protocolFeatures: ALL & ~PROTOCOL_F.DEVICE_STATE },
  ];
  for (const { value, fds = 0, check = 0n, protocolFeatures = ALL } of scripts) {
    for (const act of ['save', 'load']) {
      const p: Pair = new Pair({
        features: VIRTIO_F_VERSION_1,
        protocolFeatures,
        reply: ({ request }: Message) => {
          if (request === REQUEST.CHECK_DEVICE_STATE) return encodeU64(check);
          if (request !== REQUEST.SET_DEVICE_STATE_FD) return undefined;
          p.backend.replyFds = Array.from({ length: fds }, () => p.os.createOther());
          return encodeU64(value!);
        },
      });
      await p.open();
      const promise: Promise<unknown> =
        act === 'save' ? p.frontend.saveState() : p.frontend.loadState(Uint8Array.of(1));
      await assert.rejects(p.during(promise), { name: 'TransportError', code: 'REFUSED' });
      p.finish();
    }
  }
});

test('a front-end that is closed, or a back-end that is gone, in the middle of it', async () => {
  for (const how of ['close', 'hang up'] as const) {
    const kept: number[] = [];
    const p: Pair = new Pair({
      features: VIRTIO_F_VERSION_1,
      reply: ({ request, fds }: Message) => {
        if (request !== REQUEST.SET_DEVICE_STATE_FD) return undefined;
        kept.push(...fds.splice(0));
        return encodeU64(0x100n);
      },
    });
    await p.open();
    const saving = p.frontend.saveState();
    saving.catch(() => {});
    for (let i = 0; i < 20; i++) {
      p.os.run();
      await Promise.resolve();
    }
    if (how === 'close') p.frontend.close();
    else {
      p.backend.channel.close();
      for (const fd of kept.splice(0)) p.os.closeFd(fd);
    }
    await assert.rejects(p.during(saving), { name: 'TransportError' });
    for (const fd of kept) p.os.closeFd(fd);
    p.finish();
  }
});
