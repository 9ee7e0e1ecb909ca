import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Chain } from '../virtqueue/chain.js';
import { PackedDeviceQueue } from '../virtqueue/packed/device.js';
import { SplitDeviceQueue } from '../virtqueue/split/device.js';
import { PoliteDriver } from '../virtqueue/testing/polite-driver.js';
import { VirtqueueError } from '../virtqueue/virtqueue-error.js';
import { WatchedRing } from './watched-ring.js';

const le = (value: number): Uint8Array<ArrayBuffer> => new Uint8Array(new Uint32Array([value]).buffer);

/** A ring that somebody looks at who does not hear of every chain, and its driver. */
function ring(packed: boolean) {
  const driver = new PoliteDriver({ size: 16, packed });
  const told: string[] = [];
  let woken = 0;
  const queue = packed ? new PackedDeviceQueue(driver.device) : new SplitDeviceQueue(driver.device);
  const watched = new WatchedRing(queue, driver.device, packed, {
    connection: 1,
    queue: 0,
    now: () => 7,
    bytes: 16,
    everything: false,
    available: (count) => void told.push(`available ${count}`),
    taken: (chain, bytes) => void told.push(`taken ${chain.number}: ${bytes[0]}`),
    used: (chain) => void told.push(`used ${chain.number}: ${chain.answer[0]}`),
    suppressed: () => void told.push('suppressed'),
    wake: () => {
      woken += 1;
    },
  });
  const send = (...values: number[]): void => {
    for (const value of values) assert.ok(driver.send([le(value)], [4]));
    driver.publish();
  };
  const take = (): Chain[] => {
    const chains: Chain[] = [];
    for (let chain = watched.pop(); chain !== undefined; chain = watched.pop()) chains.push(chain);
    return chains;
  };
  const numberOf = (chain: Chain): number => {
    const into = new Uint8Array(4);
    chain.read(into);
    return into[0]!;
  };
  const give = (chains: readonly Chain[]): void => {
    for (const chain of chains) {
      chain.write(le(numberOf(chain) + 1));
      watched.push(chain);
    }
    watched.publish();
  };
  const seen = (): string[] => told.splice(0);
  return { driver, queue, watched, send, take, give, numberOf, seen, woken: () => woken };
}

for (const packed of [false, true]) {
  const layout = packed ? 'packed' : 'split';

  test(`${layout}: of chains that nobody wants to hear of it is only counted that they passed`, () => {
    const { watched, queue, send, take, give, seen } = ring(packed);
    send(1, 2, 3);
    const chains = take();
    // The very chains of the ring: nothing is between them and the device.
    assert.ok(chains.every((chain) => queue.owns(chain) && watched.owns(chain)));
    give(chains);
    assert.deepEqual(seen(), []);
    const { taken, used, unkicked } = watched.counts;
    assert.deepEqual({ taken, used, unkicked }, { taken: 3, used: 3, unkicked: 1 });
  });

  test(`${layout}: so many as are asked for are told of, to their ends; what was missed is said`, () => {
    const { watched, send, take, give, seen } = ring(packed);
    send(1, 2);
    give(take());
    send(3, 4, 5);
    assert.deepEqual(watched.show(2), { taken: 2, waiting: 3 });
    const chains = take();
    assert.deepEqual(seen(), ['taken 3: 3', 'taken 4: 4']);
    give([chains[2]!, chains[0]!]);
    assert.deepEqual(seen().slice(0, 1), ['used 3: 4']);
    give([chains[1]!]);
    assert.deepEqual(seen().slice(0, 1), ['used 4: 5']);
    assert.equal(watched.inFlight, 0);
    send(6);
    give(take());
    assert.deepEqual(seen(), []);
    // It was open to the end: nothing was missed.
    assert.deepEqual(watched.show(4), { taken: 2, waiting: 0 });
    assert.equal(watched.show(4), undefined);
  });

  test(`${layout}: a chain that is told of is the ring's own, and handed back once`, () => {
    const { watched, queue, driver, send, take, give } = ring(packed);
    watched.show(1);
    send(1);
    const chains = take();
    assert.ok(queue.owns(chains[0]!));
    give(chains);
    assert.ok(driver.receive() !== undefined);
    assert.throws(() => watched.push(chains[0]!), TypeError);
    assert.equal(watched.inFlight, 0);
  });

  test(`${layout}: a held ring gives nothing, and loses nothing: its chains stay where they are`, () => {
    const { watched, driver, send, take, give, woken } = ring(packed);
    const { base } = watched;
    watched.hold();
    send(1, 2, 3);
    assert.deepEqual(take(), []);
    assert.equal(watched.waiting, false);
    assert.equal(watched.enableKicks(), false, 'nobody needs to look now');
    assert.equal(watched.base, base);
    assert.equal(watched.inFlight, 0);
    assert.equal(watched.available, 3);
    assert.deepEqual([watched.next(2)!.bytes, watched.next(16)!.readable], [le(1).slice(0, 2), 4]);
    watched.step(2);
    assert.equal(woken(), 1);
    assert.ok(watched.waiting);
    const chains = take();
    assert.equal(chains.length, 2);
    assert.equal(watched.next(16)!.bytes[0], 3);
    give(chains);
    watched.release();
    assert.equal(woken(), 2);
    give(take());
    for (let i = 0; i < 3; i++) assert.ok(driver.receive() !== undefined);
    assert.equal(watched.next(16), undefined);
  });

  test(`${layout}: it stops before a chain, once, and goes on with that one`, () => {
    const { watched, send, take, numberOf } = ring(packed);
    let asked = 0;
    watched.stopAt = () => {
      asked += 1;
      return watched.next(4)!.bytes[0] === 2;
    };
    send(1, 2, 2, 3);
    assert.deepEqual(take().map(numberOf), [1]);
    assert.deepEqual([watched.held, asked], [true, 2]);
    // One that a stop hits ends a longer step.
    watched.step(5);
    assert.deepEqual(take().map(numberOf), [2]);
    assert.ok(watched.held);
    watched.stopAt = undefined;
    watched.release();
    assert.deepEqual(take().map(numberOf), [2, 3]);
  });

  test(`${layout}: a broken rule is seen before the queue breaks, which it does when it is let go`, () => {
    const { watched, driver, send, take } = ring(packed);
    const broken: string[] = [];
    watched.stopBroken = (error) => {
      broken.push(error.code);
      return true;
    };
    send(1);
    driver.memory.remove(driver.device.descriptorArea, Number.MAX_SAFE_INTEGER);
    driver.memory.clear();
    assert.deepEqual(take(), []);
    assert.equal(broken.length, 1);
    assert.ok(watched.held && watched.failure instanceof VirtqueueError);
    assert.deepEqual(take(), []);
    assert.equal(watched.enableKicks(), false);
    watched.release();
    assert.throws(take, VirtqueueError);
    assert.equal(broken.length, 1);
  });

  test(`${layout}: what is looked at is what lies in memory`, () => {
    const { watched, driver, send, take, give } = ring(packed);
    send(1, 2, 3);
    const [first] = take();
    const look = watched.look(256)!;
    assert.deepEqual([look.layout, look.size, look.first, look.entries], [layout, 16, 0, 16]);
    const table = new DataView(new ArrayBuffer(16 * 16));
    driver.memory.read(driver.device.descriptorArea, new Uint8Array(table.buffer));
    for (const [i, [address, length, third, fourth]] of look.descriptors.entries()) {
      assert.equal(BigInt(address), table.getBigUint64(16 * i, true));
      const rest = [8, 12, 14].map((at) =>
        (at === 8 ? table.getUint32 : table.getUint16).call(table, 16 * i + at, true),
      );
      assert.deepEqual([length, third, fourth], rest);
    }
    assert.equal(watched.heads(2).length, 2);
    give([first!]);
    const after = watched.look(4)!;
    assert.equal(after.entries, 4);
    if (after.layout === 'split') {
      assert.deepEqual([after.available.index, after.available.next, after.used.index], [3, 3, 1]);
      assert.equal(after.used.ring.length, 4);
    } else {
      assert.deepEqual(after.used, { offset: 2, wrap: true });
      assert.deepEqual(after.available, { offset: 6, wrap: true });
    }
  });
}
