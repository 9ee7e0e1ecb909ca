import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Chain } from '../chain.js';
import { PackedRingWriter } from '../testing/packed-ring-writer.js';
import { PoliteDriver } from '../testing/polite-driver.js';
import { PackedDeviceQueue } from './device.js';

interface Made {
  readonly size?: number;
  readonly base?: number;
  readonly eventIdx?: boolean;
  readonly inOrder?: boolean;
}

function make(options: Made = {}) {
  const driver = new PoliteDriver({ ...options, packed: true });
  return { driver, ring: new PackedRingWriter(driver.device), device: new PackedDeviceQueue(driver.device) };
}

/** Sends requests of so many buffers each, with room of 4 bytes in the last, and pops them. */
function popped({ driver, device }: ReturnType<typeof make>, counts: readonly number[]): Chain[] {
  for (const count of counts) {
    const pieces = Array.from({ length: count - 1 }, () => Uint8Array.of(1));
    assert.ok(driver.send(pieces, [4]));
  }
  driver.publish();
  return counts.map(() => device.pop()!);
}

test('2.8.4: a used descriptor holds the id and the bytes written, and F_WRITE when there are any', () => {
  const made = make();
  const { ring, device } = made;
  const [first, second] = popped(made, [1, 1]) as [Chain, Chain];
  second.write(Uint8Array.of(1, 2, 3));
  device.push(second);
  device.push(first);
  device.publish();
  assert.deepEqual(ring.read(0), { id: second.head, length: 3, flags: 0x8082 });
  assert.deepEqual(ring.read(1), { id: first.head, length: 0, flags: 0x8080 });
});

test('2.8.6: a used descriptor takes the place of as many as its own list has, in whatever order they are used', () => {
  const made = make({ size: 8 });
  const { ring, device } = made;
  const [a, b, c] = popped(made, [3, 1, 2]) as [Chain, Chain, Chain];
  for (const chain of [c, a, b]) device.push(chain);
  device.publish();
  assert.deepEqual(
    [ring.read(0), ring.read(2), ring.read(5)].map(({ id, flags }) => [id, flags]),
    [c, a, b].map(({ head }) => [head, 0x8080]),
  );
  assert.equal(device.base, 0x8006_8006);
});

test('2.8.2: the driver sees nothing of what was pushed before it is published, and then all of it at once', () => {
  const made = make();
  const { driver, device } = made;
  for (const chain of popped(made, [1, 2, 1])) device.push(chain);
  assert.equal(driver.receive(), undefined);
  device.publish();
  for (let i = 0; i < 3; i++) assert.ok(driver.receive() !== undefined);
  assert.equal(driver.receive(), undefined);
  assert.equal(device.publish(), false, 'nothing was pushed since');
});

for (const byWords of [false, true]) {
  const name = byWords ? 'by words' : 'by fields';
  test(`2.8.12, 2.8.10: descriptors first, then the flags of the first of them, then the wish of the driver, ${name}`, () => {
    const log: string[] = [];
    let names = new Map<number, string>();
    const before = (kind: string, offset: number) => {
      const name = names.get(offset);
      if (name !== undefined) log.push(`${kind} ${name}`);
    };
    const driver = new PoliteDriver({ packed: true, start: 0, eventIdx: true, hooks: { before, byWords } });
    const device = new PackedDeviceQueue(driver.device);
    for (let i = 0; i < 2; i++) driver.send([Uint8Array.of(1)]);
    driver.queue.disableInterrupts();
    assert.equal(driver.queue.enableInterrupts(), false);
    driver.publish();
    const chains = [device.pop()!, device.pop()!];
    const { descriptorArea: at, driverArea } = driver.device;
    names = new Map([
      [at + 8, 'len 0'],
      [at + 12, 'id 0'],
      [at + 14, 'flags 0'],
      [at + 24, 'len 1'],
      [at + 28, 'id and flags 1'],
      [driverArea, 'desc'],
      [driverArea + 2, 'flags'],
    ]);
    for (const chain of chains) device.push(chain);
    device.publish();
    assert.deepEqual(log, [
      'write len 0',
      'write len 1',
      'write id and flags 1',
      'write id 0',
      'store flags 0',
      'load flags',
      'load desc',
    ]);
  });
}

test('2.8.10: DISABLE alone suppresses interrupts; the reserved value and a descriptor without EVENT_IDX do not', () => {
  for (const eventIdx of [false, true]) {
    for (const [flags, wanted] of [
      [0, true],
      [1, false],
      [2, !eventIdx],
      [3, true],
      // The other bits are reserved and mean nothing.
      [0xfffc, true],
      [0xfffd, false],
    ] as const) {
      const made = make({ eventIdx });
      made.ring.driver.flags = flags;
      made.ring.driver.desc = 0x8005;
      const [chain] = popped(made, [1]);
      made.device.push(chain!);
      assert.equal(made.device.publish(), wanted, `flags ${flags}, EVENT_IDX ${eventIdx}`);
    }
  }
});

test('2.8.10: with EVENT_IDX an interrupt comes for the very descriptor, of the very lap', () => {
  const size = 5;
  for (let event = 0; event < 2 * size; event++) {
    const made = make({ eventIdx: true, size });
    const { driver, ring, device } = made;
    ring.driver.flags = 2;
    ring.driver.desc = (event % size) | (event < size ? 0x8000 : 0);
    // The first answer of a device makes up for what one before it may have left out.
    device.push(popped(made, [1])[0]!);
    device.publish();
    driver.receive();
    const heard: number[] = [];
    for (let at = 1; at <= 2 * size; at++) {
      device.push(popped(made, [1])[0]!);
      if (device.publish()) heard.push(at);
      driver.receive();
    }
    assert.deepEqual(heard, [event === 0 ? 2 * size : event]);
  }
});

test('2.8.10: with EVENT_IDX a batch interrupts when the descriptor is anywhere in it, skipped ones too', () => {
  for (const [event, wanted] of [
    [1, false],
    [2, true],
    [3, true],
    [4, true],
    [5, false],
  ] as const) {
    const made = make({ eventIdx: true });
    const { ring, driver, device } = made;
    device.push(popped(made, [2])[0]!);
    device.publish();
    driver.receive();
    ring.driver.flags = 2;
    ring.driver.desc = event | 0x8000;
    for (const chain of popped(made, [2, 1])) device.push(chain);
    assert.equal(device.publish(), wanted, `descriptor ${event}`);
  }
});

test('2.8.10: a descriptor outside of the ring is never used', () => {
  const made = make({ eventIdx: true, size: 4 });
  made.ring.driver.flags = 2;
  for (const event of [4, 0x8004, 0x7fff, 0xffff]) {
    made.ring.driver.desc = event;
    for (const chain of popped(made, [1, 1, 1, 1])) made.device.push(chain);
    assert.equal(made.device.publish(), false);
    while (made.driver.receive() !== undefined);
  }
});

test('2.8.10: a device that goes on from an earlier one makes up for an interrupt that it may have left out, once', () => {
  for (const [event, owed] of [
    [0x0002, true],
    [0x8003, true],
    [0x0003, true],
    [0x8002, false],
  ] as const) {
    const made = make({ eventIdx: true, size: 4, base: 0x0003_0003 });
    const { ring, device, driver } = made;
    ring.driver.flags = 2;
    ring.driver.desc = event;
    device.push(popped(made, [1])[0]!);
    assert.equal(device.publish(), owed, event.toString(16));
    driver.receive();
    device.push(popped(made, [1])[0]!);
    assert.equal(device.publish(), false);
  }
});

test('2.8.10: kicks are asked for and declined by flags, or with EVENT_IDX for the next descriptor', () => {
  const plain = make();
  plain.device.disableKicks();
  assert.deepEqual([plain.ring.device.flags, plain.ring.device.desc], [1, 0]);
  assert.equal(plain.device.enableKicks(), false);
  assert.deepEqual([plain.ring.device.flags, plain.ring.device.desc], [0, 0]);

  const made = make({ eventIdx: true, size: 3 });
  for (const place of [0x8000, 0x8002, 0x0001]) {
    made.device.disableKicks();
    assert.equal(made.ring.device.flags, 1);
    for (let again = 0; again < 2; again++) {
      assert.equal(made.device.enableKicks(), false);
      assert.deepEqual([made.ring.device.flags, made.ring.device.desc], [2, place]);
    }
    for (const chain of popped(made, [1, 1])) made.device.push(chain);
    made.device.publish();
    while (made.driver.receive() !== undefined);
  }
});

test('2.8.8: with IN_ORDER the driver sees chains in the order in which it sent them, whatever the device does first', () => {
  const made = make({ inOrder: true });
  const { driver, ring, device } = made;
  const [a, b, c] = popped(made, [1, 2, 1]) as [Chain, Chain, Chain];
  a.write(Uint8Array.of(1));
  b.write(Uint8Array.of(2, 2));
  c.write(Uint8Array.of(3, 3, 3));
  device.push(c);
  assert.equal(device.publish(), false);
  device.push(b);
  assert.equal(device.publish(), false);
  assert.equal(device.inFlight, 1);
  assert.equal(ring.read(0).flags, 0x0082, 'as the driver left it');
  device.push(a);
  assert.equal(device.publish(), true);
  const answers = [driver.receive(), driver.receive(), driver.receive()].map((answer) => [...answer!.bytes]);
  assert.deepEqual(answers, [[1], [2, 2], [3, 3, 3]]);
});

test('2.8.8: with IN_ORDER chains that were written completely make one used descriptor with those after them', () => {
  const made = make({ inOrder: true, size: 16 });
  const { driver, ring, device } = made;
  const chains = popped(made, [1, 3, 2, 1, 1]) as [Chain, Chain, Chain, Chain, Chain];
  const written = [4, 4, 2, 4, 4];
  chains.forEach((chain, i) => {
    chain.write(new Uint8Array(written[i]!));
    device.push(chain);
  });
  device.publish();
  // The third is short, so it must be named; the last two go together.
  assert.deepEqual(ring.read(0), { id: chains[2].head, length: 2, flags: 0x8082 });
  assert.deepEqual(ring.read(6), { id: chains[4].head, length: 4, flags: 0x8082 });
  for (const at of [1, 2, 3, 4, 5, 7]) assert.equal(ring.read(at).flags & 0x8080, 0x0080, `${at} is skipped`);
  assert.deepEqual(
    chains.map(() => driver.receive()!.bytes.length),
    written,
  );
  assert.equal(driver.queue.free, 16);
});
