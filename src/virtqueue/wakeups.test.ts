import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PackedDeviceQueue } from './packed/device.js';
import { SplitDeviceQueue } from './split/device.js';
import { PoliteDriver } from './testing/polite-driver.js';

/*
 * The races of §2.7.7 and §2.7.10, and of §2.8.10, tried out one by one: while one end publishes or goes to sleep, the other end does its
 * part before each single access to the ring. Whatever the moment, whoever sleeps must hear of what is there.
 */

function make(packed: boolean, eventIdx: boolean, base: number) {
  /** Accesses until the intrusion; none is wanted below 0. */
  let left = -1;
  let intrude: () => void = () => {};
  const before = () => {
    left -= left < 0 ? 0 : 1;
    if (left === 0) intrude();
  };
  const driver = new PoliteDriver({ packed, eventIdx, base, hooks: { before } });
  const device = packed ? new PackedDeviceQueue(driver.device) : new SplitDeviceQueue(driver.device);
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
  for (const packed of [false, true]) {
    for (const eventIdx of [false, true]) {
      for (const base of packed ? [0x8000_8000, 0x0007_0007] : [0, 0xffff]) {
        let moment = 0;
        while (scene(make(packed, eventIdx, base), moment)) moment += 1;
        assert.ok(moment >= 2, `${moment} accesses to the ring`);
      }
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

test('2.7.10, 2.8.10: a buffer published while the device goes to sleep is kicked for, or found by it', () => {
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

test('2.7.13.4.1, 2.8.21.3.1: a device that goes to sleep while a buffer is published is kicked, or finds it', () => {
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

test('2.7.14, 2.8.22: a chain used while the driver goes to sleep is interrupted for, or found by it', () => {
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

test('2.7.7.2, 2.8.22: a driver that goes to sleep while a chain is used is interrupted, or finds it', () => {
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

test('2.7.13.3.1, 2.7.13.4.1: what the two ends of a split ring tell each other is loaded and stored sequentially consistently', () => {
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

test('2.8.21.1.1, 2.8.21.3.1: what the two ends of a packed ring tell each other is loaded and stored sequentially consistently', () => {
  for (const eventIdx of [false, true]) {
    const kinds = new Map<number, Set<string>>();
    const before = (kind: string, offset: number) => {
      kinds.set(offset, (kinds.get(offset) ?? new Set()).add(kind));
    };
    const driver = new PoliteDriver({ packed: true, eventIdx, start: 0, hooks: { before } });
    const device = new PackedDeviceQueue(driver.device);
    kinds.clear();
    for (let n = 0; n < 3; n++) {
      warmUp({ driver, device });
      device.enableKicks();
      driver.queue.enableInterrupts();
    }
    const { descriptorArea, driverArea, deviceArea } = driver.device;
    const seen = (address: number) => [...(kinds.get(address) ?? [])].sort();
    assert.deepEqual(seen(descriptorArea + 14), ['load', 'store'], 'flags of a descriptor');
    // Named once, a descriptor is changed in one store.
    const first = eventIdx ? ['load', 'store', 'write'] : [];
    for (const area of [driverArea, deviceArea]) {
      assert.deepEqual([seen(area), seen(area + 2)], [first, ['load', 'store']], 'a wish');
    }
  }
});
