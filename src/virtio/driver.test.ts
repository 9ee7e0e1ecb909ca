import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Loopback } from '../transports/loopback/loopback.js';
import type { Chain } from '../virtqueue/chain.js';
import { defineDevice } from './define-device.js';
import type { VirtioDevice } from './device.js';
import { openDriver } from './driver.js';
import { type DriverTransport, TransportError } from './driver-transport.js';
import { VIRTIO_F_EVENT_IDX, VIRTIO_F_VERSION_1 } from './features.js';
import { FakeClock } from './testing/fake-clock.js';

/** It keeps what it is sent. */
const device = defineDevice({ id: 60, name: 'probe', queues: [{ name: 'q', size: 8 }] });

function transport(served: VirtioDevice = device()): Loopback {
  return new Loopback(served, {
    clock: new FakeClock(),
    defer: setImmediate,
    print: () => {},
    warn: () => {},
  });
}

/** The transport whose `reset` fails with this error from its second call on. */
function failingReset(
  inner: DriverTransport,
  error: Error,
): { transport: DriverTransport; closed: () => number } {
  let resets = 0;
  let closed = 0;
  const outer = new Proxy(inner, {
    get(target, key) {
      if (key === 'reset') return async () => (resets++ === 0 ? target.reset() : Promise.reject(error));
      if (key === 'close') {
        return () => {
          closed++;
          target.close();
        };
      }
      const value = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  return { transport: outer, closed: () => closed };
}

/** The transport with some of its calls replaced, and the names of those that were made, with their arguments. */
function told(
  inner: DriverTransport,
  ways: Partial<DriverTransport>,
): { transport: DriverTransport; calls: unknown[][] } {
  const calls: unknown[][] = [];
  const outer = new Proxy(inner, {
    get(target, key) {
      const value: unknown = Reflect.get(ways, key) ?? Reflect.get(target, key, target);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        calls.push([key, ...args]);
        return value.apply(target, args);
      };
    },
  });
  return { transport: outer, calls };
}

async function settled(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(setImmediate);
}

const WANTS = { id: 60, features: 0n, queues: 1 };

test('closing a device that is lost is no error, and what is outstanding rejects', async () => {
  const { transport: lost, closed } = failingReset(transport(), new TransportError('LOST', 'it is gone'));
  const driver = await openDriver(lost, WANTS);
  const outstanding = driver.queues[0]!.request(new Uint8Array(4), 4);
  await Promise.all([driver.close(), assert.rejects(outstanding, { code: 'LOST' })]);
  await driver.close();
  assert.equal(closed(), 1);
});

test('what else goes wrong while closing is not kept quiet, and the transport is let go all the same', async () => {
  const { transport: odd, closed } = failingReset(transport(), new TypeError('a bug'));
  const driver = await openDriver(odd, WANTS);
  await assert.rejects(driver.close(), { name: 'TypeError', message: 'a bug' });
  assert.equal(closed(), 1);
});

test('a device with a queue less than the driver wants is refused, and let go', async () => {
  const { transport: small, closed } = failingReset(transport(), new TransportError('LOST', 'it is gone'));
  await assert.rejects(openDriver(small, { ...WANTS, queues: 2 }), {
    code: 'REFUSED',
    message: 'the device has no queue 1',
  });
  assert.equal(closed(), 1);
});

test('2.2.1: of the bits on offer only those are accepted that the driver knows, and others do not trouble it', async () => {
  const inner = transport();
  const { transport: generous, calls } = told(inner, {
    offeredFeatures: async () => (1n << 128n) - 1n,
    acceptFeatures: async () => inner.acceptFeatures(VIRTIO_F_VERSION_1),
  });
  const driver = await openDriver(generous, { ...WANTS, features: 0b101n, ringFeatures: VIRTIO_F_EVENT_IDX });
  assert.deepEqual(
    calls.find(([name]) => name === 'acceptFeatures'),
    ['acceptFeatures', 0b101n | VIRTIO_F_EVENT_IDX | VIRTIO_F_VERSION_1],
  );
  assert.equal(driver.features, 0b101n);
  await driver.close();
  const frugal = told(transport(), { offeredFeatures: async () => VIRTIO_F_VERSION_1 });
  const other = await openDriver(frugal.transport, { ...WANTS, features: 0b101n });
  assert.deepEqual(
    frugal.calls.find(([name]) => name === 'acceptFeatures'),
    ['acceptFeatures', VIRTIO_F_VERSION_1],
  );
  await other.close();
});

test('2.2.1: without VERSION_1 the driver gives up, and says so with FAILED, if it can', async () => {
  for (const giveUp of [
    undefined,
    async () => {
      throw new TransportError('LOST', 'it is gone');
    },
  ]) {
    const { transport: legacy, calls } = told(transport(), {
      offeredFeatures: async () => VIRTIO_F_EVENT_IDX,
      ...(giveUp && { giveUp }),
    });
    await assert.rejects(openDriver(legacy, WANTS), { code: 'REFUSED', message: /VERSION_1/ });
    assert.deepEqual(
      calls.map(([name]) => name).filter((name) => name !== 'onFailure'),
      ['reset', 'offeredFeatures', 'giveUp', 'close'],
    );
  }
});

test('2.5.1: a configuration that changes while it is read is read again, and how long it is matters to nobody', async () => {
  let generation = 0;
  let reads = 0;
  const { transport: busy } = told(transport(), {
    configGeneration: async () => generation,
    readConfig: async (_, length) => {
      reads += 1;
      if (reads < 3) generation += 1;
      return new Uint8Array(length).fill(reads);
    },
  });
  const driver = await openDriver(busy, WANTS);
  assert.deepEqual([...(await driver.readConfig(0, 12))], new Array(12).fill(3));
  assert.equal(reads, 3);
  await driver.close();
  const never = told(transport(), {
    configGeneration: async () => ++generation,
    readConfig: async () => new Uint8Array(1),
  });
  const patient = await openDriver(never.transport, WANTS);
  await assert.rejects(patient.readConfig(0, 1), { code: 'PROTOCOL', message: /changed during each/ });
  await patient.close();
});

test('3.3.1: the device is reset before anything that it has is taken back', async () => {
  const inner = transport();
  const order: string[] = [];
  const { transport: slow } = told(inner, {
    reset: async () => {
      await new Promise(setImmediate);
      await inner.reset();
      order.push('reset');
    },
  });
  const driver = await openDriver(slow, WANTS);
  const outstanding = driver.queues[0]!.request(new Uint8Array(4), 4).catch(() => order.push('taken back'));
  await driver.close();
  await outstanding;
  assert.deepEqual(order, ['reset', 'reset', 'taken back']);
});

test('2.6.1: a queue that is reset fails what its device kept, posts room again, and goes on with what was sent meanwhile', async () => {
  const kept: Chain[] = [];
  const keeper = defineDevice({
    id: 60,
    name: 'keeper',
    queues: [
      {
        name: 'q',
        size: 8,
        handle: (chain) => {
          kept.push(chain);
          return new Promise(() => {});
        },
      },
    ],
  });
  const driver = await openDriver(transport(keeper()), WANTS);
  const [queue] = driver.queues;
  const written: string[] = [];
  const answer = (chain: Chain, text: string): void => {
    chain.write(new TextEncoder().encode(text));
  };
  queue!.post(8, (bytes) => written.push(`posted: ${new TextDecoder().decode(bytes)}`));
  const lost = queue!.request(Uint8Array.of(1), 8);
  await settled(() => kept.length === 2);
  const stale = kept.splice(0);
  const reset = driver.resetQueue(0, { queueSize: 2 });
  const meanwhile = queue!.request(Uint8Array.of(2), 8);
  await Promise.all([reset, assert.rejects(lost, { code: 'RESET', message: /queue 0 was reset/ })]);
  assert.equal(queue!.size, 2);
  for (const chain of stale) assert.throws(() => answer(chain, 'late'), TypeError);
  await settled(() => kept.length === 2);
  assert.deepEqual(
    kept.map(({ readable }) => readable),
    [0, 1],
  );
  await driver.close();
  await assert.rejects(meanwhile, { code: 'LOST' });
});

test('2.6.1: queues are reset one after the other, never without the feature, and never one that is not there', async () => {
  const driver = await openDriver(transport(), WANTS);
  await Promise.all([driver.resetQueue(0), driver.resetQueue(0, { queueSize: 4 }), driver.resetQueue(0)]);
  assert.equal(driver.queues[0]!.size, 4);
  await assert.rejects(driver.resetQueue(1), RangeError);
  await assert.rejects(driver.resetQueue(0, { queueSize: 3 }), RangeError);
  assert.equal(driver.queues[0]!.size, 4);
  await driver.close();
  const without = await openDriver(transport(), { ...WANTS, ringFeatures: { ringReset: false } });
  await assert.rejects(without.resetQueue(0), { code: 'REFUSED' });
  await without.close();
});
