import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Loopback } from '../transports/loopback/loopback.js';
import { defineDevice } from './define-device.js';
import { openDriver } from './driver.js';
import { type DriverTransport, TransportError } from './driver-transport.js';
import { FakeClock } from './testing/fake-clock.js';

/** It keeps what it is sent. */
const device = defineDevice({ id: 60, name: 'probe', queues: [{ name: 'q', size: 8 }] });

function transport(): Loopback {
  return new Loopback(device(), {
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
