import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { DeviceQueue } from '../../../virtio/device.js';
import { openState, sealState } from '../../../virtio/saved-state.js';
import type { Chain } from '../../../virtqueue/chain.js';
import { ProbeDevice } from '../../pci/testing/probe-device.js';
import * as codec from '../codec.js';
import * as feature from '../feature-codec.js';
import * as wire from '../messages.js';
import { RawClient } from '../testing/raw-client.js';
import { NOTIFY, number, RawDriver } from '../testing/raw-driver.js';
import { ERRNO } from '../vfio-user-error.js';

const { VFIO_DEVICE_FEATURE_GET: GET, VFIO_DEVICE_FEATURE_SET: SET } = wire;
const {
  VFIO_USER_DEVICE_STATE_ERROR: ERROR,
  VFIO_USER_DEVICE_STATE_STOP: STOP,
  VFIO_USER_DEVICE_STATE_RUNNING: RUNNING,
  VFIO_USER_DEVICE_STATE_STOP_COPY: STOP_COPY,
  VFIO_USER_DEVICE_STATE_RESUMING: RESUMING,
} = wire;
const STATE = wire.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE;
const FEATURE = wire.VFIO_USER_DEVICE_FEATURE;
const { EINVAL } = ERRNO;

function started(device = new ProbeDevice()): { client: RawClient; driver: RawDriver } {
  const client = new RawClient(device);
  client.negotiate();
  const driver = new RawDriver(client, true);
  driver.start();
  return { client, driver };
}

function setOf(state: number): Uint8Array {
  return feature.encodeFeature(STATE, SET, feature.encodeMigState(state));
}

function go(client: RawClient, state: number): number {
  return client.ask(FEATURE, setOf(state)).error;
}

function stateOf(client: RawClient): number {
  const { payload } = client.ask(FEATURE, feature.encodeFeature(STATE, GET, undefined, 8));
  return feature.decodeMigState(feature.decodeFeature(payload).data);
}

function readAll(client: RawClient, piece = 100): Uint8Array {
  const all: number[] = [];
  for (;;) {
    const { payload } = client.ask(wire.VFIO_USER_MIG_DATA_READ, feature.encodeMigData(piece));
    const data = feature.decodeMigData(payload, wire.VFIO_USER_MIG_DATA_READ);
    all.push(...data);
    if (data.length < piece) return Uint8Array.from(all);
  }
}

function write(client: RawClient, data: Uint8Array): number {
  const payload = new Uint8Array([...feature.encodeMigData(data.length), ...data]);
  return client.ask(wire.VFIO_USER_MIG_DATA_WRITE, payload).error;
}

/** Brings a fresh client's device into a state. */
function at(state: number): ReturnType<typeof started> {
  const both = started();
  const { client } = both;
  if (state === ERROR) {
    assert.equal(go(client, RESUMING), 0);
    assert.equal(go(client, STOP), EINVAL);
  } else assert.equal(go(client, state), 0);
  assert.equal(stateOf(client), state);
  return both;
}

const ALL = [RUNNING, STOP, STOP_COPY, RESUMING, ERROR];

test('MIGRATION says STOP_COPY, and neither P2P nor PRE_COPY', () => {
  const { client } = started();
  const ask = feature.encodeFeature(wire.VFIO_DEVICE_FEATURE_MIGRATION, GET, undefined, 8);
  const { payload } = client.ask(FEATURE, ask);
  assert.equal(feature.decodeMigration(feature.decodeFeature(payload).data), wire.VFIO_MIGRATION_STOP_COPY);
  assert.equal(payload.getUint32(0, true), 16, 'argsz');
  for (const one of [wire.VFIO_DEVICE_FEATURE_MIGRATION, STATE]) {
    assert.equal(client.refused(FEATURE, feature.encodeFeature(one, GET, undefined, 7)), EINVAL, 'no room');
  }
  assert.equal(
    client.refused(FEATURE, feature.encodeFeature(wire.VFIO_DEVICE_FEATURE_MIGRATION, SET)),
    EINVAL,
  );
});

test('a device that is stopped touches nothing and interrupts nobody; what it was asked meanwhile it does when it runs', () => {
  const { client, driver } = started();
  assert.deepEqual(driver.request(Uint8Array.of(1, 2), 2), Uint8Array.of(2, 1));
  assert.equal(go(client, STOP), 0);
  driver.add(Uint8Array.of(3, 4), 2);
  driver.kick();
  client.clock.advance(1e9);
  client.os.run();
  assert.equal(driver.receive(), undefined);
  assert.equal(driver.readStatus(), 0xf);
  assert.equal(go(client, RUNNING), 0);
  client.os.run();
  assert.deepEqual(driver.receive(), Uint8Array.of(4, 3));
});

test('the same state goes to a device elsewhere and comes back, as often as one likes', () => {
  const { client, driver } = started();
  driver.request(Uint8Array.of(1), 1);
  assert.equal(go(client, STOP_COPY), 0);
  const first = readAll(client, 7);
  assert.equal(go(client, STOP), 0);
  assert.equal(go(client, STOP_COPY), 0);
  assert.deepEqual(readAll(client), first);
  // Into the very device that it is of.
  assert.equal(go(client, RESUMING), 0);
  for (let i = 0; i < first.length; i += 11) assert.equal(write(client, first.subarray(i, i + 11)), 0);
  assert.equal(go(client, STOP_COPY), 0);
  assert.deepEqual(readAll(client), first);
  assert.equal(go(client, RUNNING), 0);
  client.os.run();
  assert.deepEqual(driver.request(Uint8Array.of(5, 6), 2), Uint8Array.of(6, 5));
  assert.deepEqual(client.warnings, []);
});

test('registers can be read in each state, and written but in STOP_COPY, which would not be in what was read', () => {
  for (const state of ALL) {
    const { client } = at(state);
    assert.equal(client.read(7, 0, 2)[0], 0xf4, 'the vendor');
    const refused = state === STOP_COPY ? EINVAL : 0;
    assert.equal(client.write(7, 0x3c, number(1, 5)), refused, wire.stateName(state));
    const multi = codec.encodeWriteMulti([{ region: 7, offset: 0x3c, count: 1, data: Uint8Array.of(6) }]);
    assert.equal(client.ask(wire.VFIO_USER_REGION_WRITE_MULTI, multi).error, refused);
    if (refused !== 0) assert.match(client.warnings.at(-1)!, /REGION_WRITE in STOP_COPY/);
  }
});

test('DEVICE_RESET leads to RUNNING from each state, and the device works with a new driver', () => {
  for (const state of ALL) {
    const { client } = at(state);
    assert.equal(client.ask(wire.VFIO_USER_DEVICE_RESET).error, 0);
    assert.equal(stateOf(client), RUNNING);
    const all = codec.encodeDmaUnmap({ flags: wire.VFIO_DMA_UNMAP_FLAG_ALL, address: 0 as never, size: 0 });
    client.ask(wire.VFIO_USER_DMA_UNMAP, all);
    const driver = new RawDriver(client, true);
    driver.start();
    assert.deepEqual(driver.request(Uint8Array.of(1, 2), 2), Uint8Array.of(2, 1), wire.stateName(state));
  }
});

test('messages that are cut short, or have descriptors that nobody wants, are refused in each state, and nothing stays open', () => {
  const whole: [number, Uint8Array][] = [
    [FEATURE, feature.encodeFeature(STATE, SET, feature.encodeMigState(ERROR))],
    [FEATURE, setOf(7)],
    [wire.VFIO_USER_MIG_DATA_READ, feature.encodeMigData(5)],
    [wire.VFIO_USER_MIG_DATA_WRITE, new Uint8Array([...feature.encodeMigData(5), 1, 2, 3, 4, 5])],
  ];
  for (const state of ALL) {
    const { client } = at(state);
    const open = client.os.openFds;
    for (const [command, payload] of whole) {
      for (let length = 0; length < payload.length; length++) {
        assert.equal(client.refused(command, payload.subarray(0, length)), EINVAL);
      }
      const fd = client.os.createOther();
      client.ask(command, payload, [fd]);
      client.os.closeFd(fd);
    }
    for (const command of [wire.VFIO_USER_MIG_DATA_READ, wire.VFIO_USER_MIG_DATA_WRITE]) {
      assert.equal(client.refused(command, feature.encodeMigData(0xffff_fff0)), EINVAL);
    }
    const small = feature.encodeMigData(5);
    new DataView(small.buffer).setUint32(0, 12, true);
    assert.equal(client.refused(wire.VFIO_USER_MIG_DATA_READ, small), EINVAL, 'no room');
    assert.equal(stateOf(client), state);
    assert.equal(client.ended, undefined);
    assert.equal(client.os.openFds, open);
  }
});

test('a client that goes in any state leaves nothing, and the next one finds a device that runs', () => {
  for (const state of ALL) {
    const { client } = at(state);
    client.hangUp();
    assert.notEqual(client.ended, undefined);
    assert.equal(client.os.openFds, 0);
    assert.equal(client.clock.open, 0);
    assert.equal(stateOf(started().client), RUNNING);
  }
});

/** Keeps what it gets until it is told. */
class Keeper extends ProbeDevice {
  readonly kept: [DeviceQueue, Chain][] = [];

  override queueNotified(queue: DeviceQueue): void {
    for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) this.kept.push([queue, chain]);
  }

  answer(): void {
    for (const [queue, chain] of this.kept.splice(0)) {
      queue.push(chain);
      queue.flush();
    }
  }
}

test('what comes while a device is being stopped is served after that, in its order', () => {
  const device = new Keeper();
  const { client, driver } = started(device);
  driver.add(Uint8Array.of(1), 1);
  driver.kick();
  const stop = client.send(FEATURE, setOf(STOP));
  const later = [
    client.send(FEATURE, feature.encodeFeature(STATE, GET, undefined, 8)),
    client.send(wire.VFIO_USER_REGION_READ, codec.encodeRegionAccess({ region: 7, offset: 0, count: 2 })),
    client.send(FEATURE, setOf(RUNNING)),
  ];
  client.os.run();
  assert.equal(client.replies.length, 0);
  device.answer();
  client.os.run();
  assert.deepEqual(
    client.replies.map(({ id }) => id),
    [stop, ...later],
  );
  assert.equal(feature.decodeMigState(feature.decodeFeature(client.replies[1]!.payload).data), STOP);
});

test('a client that sends without end meanwhile is disconnected, with one line, and all is given back', () => {
  const device = new Keeper();
  const { client, driver } = started(device);
  driver.add(Uint8Array.of(1), 1);
  driver.kick();
  client.send(FEATURE, setOf(STOP));
  const large = new Uint8Array(1 << 20);
  const fd = client.os.createOther();
  for (let i = 0; i < 5; i++) client.send(wire.VFIO_USER_MIG_DATA_WRITE, large, [fd]);
  client.os.closeFd(fd);
  client.os.run();
  assert.match(client.ended?.error?.message ?? '', /over \d+ bytes of commands behind one that waits/);
  client.hangUp();
  assert.equal(client.os.openFds, 0);
  assert.equal(client.clock.open, 0);
  assert.equal(device.calls.at(-1), 'close');
});

test('a driver without bus mastering whose requests are in flight can not be stopped: they could not come back', () => {
  const device = new Keeper();
  const { client, driver } = started(device);
  driver.add(Uint8Array.of(1), 1);
  driver.kick();
  driver.command(2);
  assert.equal(go(client, STOP), ERRNO.EBUSY);
  assert.match(
    client.warnings.at(-1)!,
    /queue 0 \(queue0\) has requests in flight, and it may not master the bus/,
  );
  driver.command(6);
  device.answer();
  assert.equal(go(client, STOP), 0);
});

test('a state that is damaged anywhere is refused in one line, and leads to ERROR', () => {
  const { client: source } = at(STOP_COPY);
  const state = readAll(source);
  fc.assert(
    fc.property(
      fc.nat(state.length - 1),
      fc.integer({ min: 1, max: 255 }),
      fc.boolean(),
      (place, change, cut) => {
        const { client } = at(RESUMING);
        const damaged = cut ? state.slice(0, place) : state.slice();
        if (!cut) damaged[place]! ^= change;
        assert.equal(write(client, damaged), 0);
        assert.equal(go(client, RUNNING), EINVAL);
        assert.equal(stateOf(client), ERROR);
        assert.equal(client.warnings.length, 1);
        assert.match(client.warnings[0]!, /the device can't go on from the state that was written: /);
      },
    ),
    { numRuns: 100 },
  );
});

/** All places in a value where another can be put. */
function places(value: unknown, path: readonly (string | number)[] = []): (readonly (string | number)[])[] {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return [path];
  return [path, ...Object.entries(value).flatMap(([key, each]) => places(each, [...path, key]))];
}

function put(value: unknown, [key, ...rest]: readonly (string | number)[], what: unknown): unknown {
  if (key === undefined) return what;
  const copy = Array.isArray(value) ? [...value] : { ...(value as object) };
  const at = copy as Record<string | number, unknown>;
  at[key] = put(at[key], rest, what);
  return copy;
}

test('a state that is whole, and yet none that can be: refused, or it breaks its own queue, and a reset heals it', () => {
  const { client: source, driver } = started();
  driver.request(Uint8Array.of(1), 1);
  assert.equal(go(source, STOP_COPY), 0);
  const value = openState(readAll(source));
  const all = places(value).slice(1);
  const odd = fc.oneof(
    fc.constantFrom<unknown>(undefined, null, -1, 0.5, Number.NaN, 2 ** 60, 1n << 70n, '', [], {}, true),
    fc.nat(0xffff),
    fc.nat(0xffff_ffff),
    fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
    fc.uint8Array({ maxLength: 300 }),
  );
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(all.length - 1), odd), { minLength: 1, maxLength: 3 }),
      (changes) => {
        let changed = value;
        try {
          for (const [index, what] of changes) changed = put(changed, all[index]!, what);
        } catch {
          // A place that an earlier change took away.
          return;
        }
        const { client, driver: there } = at(RESUMING);
        write(client, sealState(changed));
        const error = go(client, RUNNING);
        assert.ok(error === 0 || error === EINVAL);
        client.os.run();
        client.write(0, NOTIFY, number(2, 0), true);
        assert.equal(client.ended, undefined, client.warnings.join('; '));
        assert.ok(there);
        client.ask(wire.VFIO_USER_DEVICE_RESET);
        assert.equal(stateOf(client), RUNNING);
        client.hangUp();
        assert.equal(client.os.openFds, 0);
        assert.equal(client.clock.open, 0);
        assert.equal(client.os.staleAccesses, 0);
      },
    ),
    { numRuns: 400 },
  );
});
