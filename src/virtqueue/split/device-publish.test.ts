import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GuestMemory } from '../../memory/guest-memory.js';
import { PoliteDriver, type PoliteDriverOptions } from '../testing/polite-driver.js';
import { RingWriter } from '../testing/ring-writer.js';
import { WatchedView } from '../testing/watched-view.js';
import { SplitDeviceQueue } from './device.js';

function make(options: PoliteDriverOptions = {}) {
  const driver = new PoliteDriver(options);
  return { driver, device: new SplitDeviceQueue(driver.device), ring: new RingWriter(driver.device) };
}

type Made = ReturnType<typeof make>;

/** Sends, serves and publishes one request with an answer of `written` bytes. */
function serve({ driver, device }: Made, written = 1): boolean {
  driver.send([Uint8Array.of(1)], [8]);
  driver.publish();
  const chain = device.pop()!;
  chain.write(new Uint8Array(written));
  device.push(chain);
  const interrupt = device.publish();
  assert.equal(driver.receive()?.bytes.length, written);
  return interrupt;
}

test('2.7.8: a used element holds the head and the bytes written, not the bytes of the chain', () => {
  for (const base of [0, 0xffff]) {
    const { driver, device, ring } = make({ base, size: 16 });
    for (const pieces of [1, 2, 3]) driver.send(new Array(pieces).fill(Uint8Array.of(1)), [4, 4]);
    driver.publish();
    const [first, second, third] = [device.pop()!, device.pop()!, device.pop()!];
    assert.deepEqual([first.head, second.head], [0, 3]);
    second.write(new Uint8Array(5));
    third.write(new Uint8Array(8));
    for (const chain of [third, first, second]) device.push(chain);
    device.publish();
    const expected = [
      { id: third.head, len: 8 },
      { id: 0, len: 0 },
      { id: 3, len: 5 },
    ];
    assert.deepEqual([ring.used(base), ring.used(base + 1), ring.used(base + 2)], expected);
    assert.equal(ring.usedIndex, (base + 3) & 0xffff);
  }
});

test('2.7.8.2: the driver sees nothing of what was pushed before it is published, and then all of it at once', () => {
  const { driver, device, ring } = make();
  for (let n = 0; n < 3; n++) driver.send([Uint8Array.of(n)]);
  driver.publish();
  for (let n = 0; n < 3; n++) device.push(device.pop()!);
  assert.deepEqual([ring.usedIndex, driver.receive(), device.inFlight], [0, undefined, 0]);
  assert.equal(device.publish(), true);
  assert.equal(ring.usedIndex, 3);
  assert.equal(device.publish(), false, 'nothing new');
});

test('2.7.8.2, 2.7.7.2: elements first, then the index once, then the wish of the driver', () => {
  for (const [eventIdx, byWords] of [
    [false, false],
    [false, true],
    [true, false],
    [true, true],
  ] as const) {
    const { driver, device: plain, ring } = make({ eventIdx });
    plain.close();
    const [region] = driver.memory.regions;
    const log: string[] = [];
    const { deviceArea, driverArea } = driver.device;
    const before = (kind: string, offset: number) => {
      const address = region!.start + offset;
      if (address >= deviceArea) log.push(`${kind} used+${address - deviceArea}`);
      else log.push(`${kind} avail+${address - driverArea}`);
    };
    const memory = new GuestMemory();
    memory.add({ start: region!.start, view: new WatchedView(region!.view, { before, byWords }) });
    const device = new SplitDeviceQueue({ ...driver.device, memory });
    driver.send([Uint8Array.of(1)]);
    driver.send([Uint8Array.of(2)]);
    driver.publish();
    const chains = [device.pop()!, device.pop()!];
    log.length = 0;
    for (const chain of chains) device.push(chain);
    device.publish();
    const wish = eventIdx ? 'load avail+20' : 'load avail+0';
    const elements = ['write used+4', 'write used+8', 'write used+12', 'write used+16'];
    assert.deepEqual(log, [...elements, 'store used+2', wish]);
    assert.equal(ring.usedIndex, 2);
  }
});

test('2.7.7.2: without EVENT_IDX the flag decides, and used_event means nothing', () => {
  const made = make();
  made.ring.usedEvent = 1234;
  assert.equal(serve(made), true);
  made.ring.availFlags = 1;
  assert.equal(serve(made), false);
  made.ring.availFlags = 0xfffe;
  assert.equal(serve(made), true, 'only the lowest bit counts');
});

test('2.7.7.2: with EVENT_IDX used_event decides, and the flag means nothing', () => {
  const made = make({ eventIdx: true });
  assert.equal(serve(made), true);
  made.ring.availFlags = 1;
  made.ring.usedEvent = 3;
  assert.deepEqual([serve(made), serve(made), serve(made), serve(made)], [false, false, true, false]);
});

test('2.7.7.2: with EVENT_IDX an interrupt comes on the very element, across the 16-bit wrap too', () => {
  for (const base of [0xfffc, 0xfffe, 0xffff]) {
    for (let distance = 0; distance < 6; distance++) {
      const made = make({ eventIdx: true, base });
      serve(made);
      made.ring.usedEvent = (base + 1 + distance) & 0xffff;
      const interrupts = Array.from({ length: 6 }, () => serve(made));
      assert.deepEqual(
        interrupts,
        Array.from({ length: 6 }, (_, i) => i === distance),
        `${base} + ${distance}`,
      );
    }
  }
});

test('2.7.7.2: with EVENT_IDX a batch interrupts when the element is anywhere in it', () => {
  for (let event = 0; event < 9; event++) {
    const { driver, device, ring } = make({ eventIdx: true, base: 0xfffd });
    serve({ driver, device, ring });
    ring.usedEvent = (0xfffd + event) & 0xffff;
    for (let n = 0; n < 5; n++) driver.send([Uint8Array.of(n)]);
    driver.publish();
    for (let n = 0; n < 5; n++) device.push(device.pop()!);
    // Elements 1 to 5 after the base are in the batch.
    assert.equal(device.publish(), event >= 1 && event <= 5, `event ${event}`);
  }
});

test('2.7.7.2: on a new ring not even the first interrupt comes unasked', () => {
  for (const base of [0, 1, 0x8000, 0xffff]) {
    const made = make({ eventIdx: true, base });
    made.ring.usedEvent = (base + 2) & 0xffff;
    assert.deepEqual([serve(made), serve(made), serve(made)], [false, false, true]);
  }
});

test('2.7.7.2: a device that goes on from an earlier one interrupts only for what the driver may still wait for', () => {
  const made = make({ eventIdx: true, base: 0xfff0, size: 8 });
  for (let n = 0; n < 20; n++) serve(made);
  // The driver saw all, and asked for the next but one.
  made.ring.usedEvent = 5;
  const seen = new SplitDeviceQueue({ ...made.driver.device, base: made.device.base });
  assert.deepEqual([serve({ ...made, device: seen }), serve({ ...made, device: seen })], [false, true]);
  // It has not seen the oldest of all that a ring can hold.
  made.ring.usedEvent = 6 - 8;
  const owing = new SplitDeviceQueue({ ...made.driver.device, base: seen.base });
  assert.deepEqual([serve({ ...made, device: owing }), serve({ ...made, device: owing })], [true, false]);
});

test('2.7.7: a device that goes on from an earlier one makes up for an interrupt that it may have left out', () => {
  const made = make({ eventIdx: true });
  serve(made);
  // The earlier device died after the element and before the interrupt for it.
  made.ring.usedEvent = 0;
  const device = new SplitDeviceQueue({ ...made.driver.device, base: made.device.base });
  assert.deepEqual([serve({ ...made, device }), serve({ ...made, device })], [true, false]);
});

test('2.7.10.2: kicks are asked for and declined by the flag, or with EVENT_IDX by avail_event', () => {
  const plain = make({ base: 0xffff });
  plain.device.disableKicks();
  assert.deepEqual([plain.ring.usedFlags, plain.ring.availEvent], [1, 0xffff]);
  assert.equal(plain.device.enableKicks(), false);
  assert.deepEqual([plain.ring.usedFlags, plain.ring.availEvent], [0, 0xffff]);

  const event = make({ base: 0xffff, eventIdx: true });
  serve(event);
  assert.equal(event.device.enableKicks(), false);
  assert.deepEqual([event.ring.usedFlags, event.ring.availEvent], [0, 0]);
  event.device.disableKicks();
  assert.deepEqual([event.ring.usedFlags, event.ring.availEvent], [0, 0xffff]);
});

for (const eventIdx of [false, true]) {
  const name = eventIdx ? 'with EVENT_IDX' : 'without EVENT_IDX';
  test(`2.7.10: a driver kicks after enableKicks and not after disableKicks, ${name}`, () => {
    const { driver, device } = make({ eventIdx, base: 0xfffe });
    const send = () => driver.send([Uint8Array.of(1)]) && driver.publish();
    device.disableKicks();
    assert.equal(send(), false);
    assert.equal(device.enableKicks(), true, 'one is there already');
    device.push(device.pop()!);
    assert.equal(device.enableKicks(), false);
    assert.equal(send(), true);
    device.disableKicks();
    assert.equal(send(), false);
  });
}
