import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { PoliteDriver } from '../testing/polite-driver.js';
import { anyStep, RingModel } from '../testing/ring-model.js';
import { RingWriter } from '../testing/ring-writer.js';
import { SplitDeviceQueue } from './device.js';

function make(options: {
  size: number;
  base: number;
  eventIdx: boolean;
  indirect: boolean;
  inOrder: boolean;
}) {
  const { base, size } = options;
  const driver = new PoliteDriver({ ...options, bytes: 1 << 16 });
  const device = new SplitDeviceQueue(driver.device);
  const ring = new RingWriter(driver.device);
  const model = new RingModel({
    ...options,
    driver,
    device,
    unit: 'chain',
    first: 'entry 0',
    owed: () => ((base - 1 - ring.usedEvent) & 0xffff) < size,
    check(published, popped, used) {
      assert.equal(device.base, (base + popped) & 0xffff);
      assert.equal(ring.availIndex, (base + published) & 0xffff);
      assert.equal(ring.usedIndex, (base + used) & 0xffff);
    },
  });
  return { driver, device, model };
}

/** Mostly so that the wrap comes soon; it must come in the middle of everything else. */
const base = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 0xffe0, max: 0xffff }) },
  { weight: 1, arbitrary: fc.constantFrom(0, 0x7ff8) },
);
const options = fc.record({
  size: fc.constantFrom(1, 2, 4, 8, 32),
  base,
  eventIdx: fc.boolean(),
  indirect: fc.boolean(),
  inOrder: fc.boolean(),
});

test('2.7.13, 2.7.14: two ends that do anything in any order agree with four arrays', () => {
  fc.assert(
    fc.property(options, fc.array(anyStep, { minLength: 20, maxLength: 300, size: 'max' }), (made, steps) => {
      const { model } = make(made);
      for (const now of steps) model.step(now);
      model.finish();
    }),
    { numRuns: 300 },
  );
});

for (const eventIdx of [false, true]) {
  const name = eventIdx ? 'with EVENT_IDX' : 'without EVENT_IDX';
  test(`2.7.13.3: 200000 chains, over three 16-bit wraps, each woken for and answered, ${name}`, () => {
    const { driver, device } = make({ size: 4, base: 0, eventIdx, indirect: false, inOrder: false });
    let sent = 0;
    let popped = 0;
    let received = 0;
    let kicked = true;
    let interrupted = true;
    while (received < 200_000) {
      // A driver and a device that do nothing unless they are woken: a wakeup that is lost stops the loop.
      assert.ok(kicked || interrupted, `nobody is awake after ${received} chains`);
      if (interrupted) {
        interrupted = false;
        driver.queue.disableInterrupts();
        for (let used = driver.queue.reap(); used !== undefined; used = driver.queue.reap()) received += 1;
        assert.equal(driver.queue.enableInterrupts(), false);
        const buffer = { address: driver.device.descriptorArea, length: 1 + (sent % 3) };
        const request = { readable: [buffer], writable: [] };
        for (let n = 0; n < 1 + (sent % 4) && driver.queue.free > 0; n++) {
          driver.queue.add(request.readable, request.writable, request);
          sent += 1;
        }
        kicked = driver.publish() || kicked;
      }
      if (kicked) {
        kicked = false;
        device.disableKicks();
        for (let chain = device.pop(); chain !== undefined; chain = device.pop()) {
          assert.equal(device.inFlight, 1);
          assert.ok(++popped <= sent, 'more chains than were sent');
          device.push(chain);
        }
        assert.equal(device.enableKicks(), false);
        interrupted = device.publish();
      }
    }
    assert.equal(device.base, sent & 0xffff);
  });
}
