import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PoliteDriver } from '../testing/polite-driver.js';
import { SplitDeviceQueue } from './device.js';

/*
 * The races of §2.7.7 and §2.7.10, tried out one by one: while one end publishes or goes to sleep, the other end does its
 * part before each single access to the ring. Whatever the moment, whoever sleeps must hear of what is there.
 */

function make(eventIdx: boolean, base: number) {
  /** Accesses until the intrusion; none is wanted below 0. */
  let left = -1;
  let intrude: () => void = () => {};
  const before = () => {
    left -= left < 0 ? 0 : 1;
    if (left === 0) intrude();
  };
  const driver = new PoliteDriver({ eventIdx, base, hooks: { before } });
  const device = new SplitDeviceQueue(driver.device);
  /** Lets `other` happen before access number `moment` of `call`; `false` when there are not so many. */
  const interrupted = (moment: number, call: () => void, other: () => void): boolean => {
    let happened = false;
    intrude = () => {
      left = -1;
      happened = true;
      other();
    };
    left = moment + 1;
    call();
    left = -1;
    return happened;
  };
  return { driver, device, interrupted };
}

type Made = ReturnType<typeof make>;

/** Runs `scene` with the intrusion at each moment in turn, until there are no more; then there must have been some. */
function atEachMoment(scene: (made: Made, moment: number) => boolean): void {
  for (const eventIdx of [false, true]) {
    for (const base of [0, 0xffff]) {
      let moment = 0;
      while (scene(make(eventIdx, base), moment)) moment += 1;
      assert.ok(moment >= 2, `${moment} accesses to the ring`);
    }
  }
}

/** One request goes through, so that nobody is in a state that only a new ring is in. */
function warmUp({ driver, device }: Pick<Made, 'driver' | 'device'>): void {
  driver.send([Uint8Array.of(0)]);
  driver.publish();
  device.push(device.pop()!);
  device.publish();
  driver.receive();
}

test('2.7.10: a buffer published while the device goes to sleep is kicked for, or found by it', () => {
  atEachMoment((made, moment) => {
    const { driver, device, interrupted } = made;
    warmUp(made);
    device.disableKicks();
    let found = false;
    let kicked = false;
    const sleep = () => {
      found = device.enableKicks();
    };
    const happened = interrupted(moment, sleep, () => {
      driver.send([Uint8Array.of(1)]);
      kicked = driver.publish();
    });
    assert.ok(!happened || kicked || found, `lost before access ${moment}`);
    return happened;
  });
});

test('2.7.13.4.1: a device that goes to sleep while a buffer is published is kicked, or finds it', () => {
  atEachMoment((made, moment) => {
    const { driver, device, interrupted } = made;
    warmUp(made);
    device.disableKicks();
    driver.send([Uint8Array.of(1)]);
    let found = false;
    let kicked = false;
    const publish = () => {
      kicked = driver.publish();
    };
    const happened = interrupted(moment, publish, () => {
      found = device.enableKicks();
    });
    assert.ok(!happened || kicked || found, `lost before access ${moment}`);
    return happened;
  });
});

test('2.7.14: a chain used while the driver goes to sleep is interrupted for, or found by it', () => {
  atEachMoment((made, moment) => {
    const { driver, device, interrupted } = made;
    warmUp(made);
    driver.queue.disableInterrupts();
    driver.send([Uint8Array.of(1)]);
    driver.publish();
    device.push(device.pop()!);
    let found = false;
    let told = false;
    const sleep = () => {
      found = driver.queue.enableInterrupts();
    };
    const happened = interrupted(moment, sleep, () => {
      told = device.publish();
    });
    assert.ok(!happened || told || found, `lost before access ${moment}`);
    return happened;
  });
});

test('2.7.7.2: a driver that goes to sleep while a chain is used is interrupted, or finds it', () => {
  atEachMoment((made, moment) => {
    const { driver, device, interrupted } = made;
    warmUp(made);
    driver.queue.disableInterrupts();
    driver.send([Uint8Array.of(1)]);
    driver.publish();
    device.push(device.pop()!);
    let found = false;
    let told = false;
    const publish = () => {
      told = device.publish();
    };
    const happened = interrupted(moment, publish, () => {
      found = driver.queue.enableInterrupts();
    });
    assert.ok(!happened || told || found, `lost before access ${moment}`);
    return happened;
  });
});

test('2.7.13.3.1, 2.7.13.4.1: what the two ends tell each other is loaded and stored sequentially consistently', () => {
  for (const eventIdx of [false, true]) {
    const kinds = new Map<number, Set<string>>();
    const before = (kind: string, offset: number) => {
      kinds.set(offset, (kinds.get(offset) ?? new Set()).add(kind));
    };
    const driver = new PoliteDriver({ eventIdx, start: 0, hooks: { before } });
    const device = new SplitDeviceQueue(driver.device);
    kinds.clear();
    for (let n = 0; n < 3; n++) {
      warmUp({ driver, device });
      device.enableKicks();
      driver.queue.enableInterrupts();
    }
    const { driverArea, deviceArea, size } = driver.device;
    const seen = (address: number) => [...kinds.get(address)!].sort();
    assert.deepEqual(
      [seen(driverArea + 2), seen(deviceArea + 2)],
      [
        ['load', 'store'],
        ['load', 'store'],
      ],
      'idx',
    );
    const wishes = eventIdx ? [4 + 2 * size, 4 + 8 * size] : [0, 0];
    assert.deepEqual(seen(driverArea + wishes[0]!), ['load', 'store'], 'the wish of the driver');
    assert.deepEqual(seen(deviceArea + wishes[1]!), ['load', 'store'], 'the wish of the device');
  }
});
