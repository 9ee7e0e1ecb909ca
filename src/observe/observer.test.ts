import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Device } from '../virtio/chain-queue.js';
import { defineDevice } from '../virtio/define-device.js';
import { le32, struct } from '../virtio/struct.js';
import { structQueue } from '../virtio/struct-queue.js';
import { DeviceBench } from '../virtio/testing/device-bench.js';
import type { Chain } from '../virtqueue/chain.js';
import { PackedDeviceQueue } from '../virtqueue/packed/device.js';
import { SplitDeviceQueue } from '../virtqueue/split/device.js';
import { PoliteDriver } from '../virtqueue/testing/polite-driver.js';
import type { InspectEvent } from './event.js';
import { type Listener, Observer } from './observer.js';
import { WatchedRing } from './watched-ring.js';

const N = struct({ n: le32 });
const Config = struct({ step: le32 });

const make = defineDevice({
  id: 60,
  name: 'adder',
  features: { BIG: 3 },
  config: { struct: Config, initial: { step: 1 }, writable: ['step'] },
  queues: [
    structQueue({
      name: 'q',
      size: 8,
      request: N,
      response: N,
      handle({ n }, { config, configChanged, print }: Device<typeof Config>) {
        if (n === 13) throw new Error('thirteen');
        if (n === 7) configChanged();
        print(`adds ${n}`);
        return { n: n + config.step };
      },
    }),
  ],
});

/** A bench that is looked at, and what was seen since it was asked last. */
function bench(bytes = 64): { bench: DeviceBench; seen: () => InspectEvent[]; leave: () => void } {
  const events: InspectEvent[] = [];
  let now = 0;
  const device = make();
  const listener: Listener = { hear: (event) => void events.push(event), bytes };
  const observer = new Observer(
    device,
    { connection: 1, socket: '/s', transport: 'bench' },
    [listener],
    () => ++now,
  );
  return {
    bench: new DeviceBench(device, { monitor: observer }),
    seen: () => events.splice(0),
    leave: () => observer.leave(listener),
  };
}

const types = (events: readonly InspectEvent[]): string[] => events.map(({ type }) => type);
const le = (n: number): Uint8Array => N.encode({ n });

/** Of a ring whose every chain is told of. */
const unheard = {
  connection: 1,
  queue: 0,
  now: () => 0,
  everything: true,
  available: (): void => {},
  used: (): void => {},
  suppressed: (): void => {},
  wake: (): void => {},
};

test('a connection from its first event on: the device, features, queues, and that it runs', () => {
  const { seen } = bench();
  const events = seen();
  assert.deepEqual(types(events), ['connected', 'features', 'queue-started', 'running']);
  const [connected, features, started] = events as [InspectEvent, InspectEvent, InspectEvent];
  assert.ok(connected.type === 'connected' && features.type === 'features');
  assert.deepEqual(
    [connected.device.id, connected.device.name, connected.device.config, connected.device.features],
    [60, 'adder', Uint8Array.of(1, 0, 0, 0), 8n],
  );
  assert.equal(features.accepted & 8n, 8n);
  assert.ok(started.type === 'queue-started');
  assert.deepEqual(
    [started.name, started.size, started.base, started.packed, started.eventIdx],
    ['q', 8, 0, false, true],
  );
  assert.ok(started.descriptorArea > 0);
  assert.deepEqual(
    events.map(({ time }) => time),
    [1, 2, 3, 4],
  );
});

test('a request: made available, kicked, taken with its bytes and descriptors, a line, used with its answer, an interrupt', () => {
  const { bench: b, seen } = bench();
  seen();
  assert.deepEqual(b.ask('q', le(5), 4), le(6));
  const events = seen();
  assert.deepEqual(types(events), ['kicked', 'available', 'taken', 'line', 'used', 'interrupted']);
  const [, available, taken, line, used, interrupted] = events;
  assert.ok(available?.type === 'available' && available.count === 1 && available.asked);
  assert.ok(taken?.type === 'taken' && used?.type === 'used');
  assert.deepEqual(
    [taken.queue, taken.chain, taken.readable, taken.writable, taken.bytes],
    [0, 1, 4, 4, le(5)],
  );
  assert.deepEqual(
    taken.descriptors.map(({ length, writable }) => [length, writable]),
    [
      [4, false],
      [4, true],
    ],
  );
  assert.ok(line?.type === 'line' && line.text === 'adds 5');
  assert.deepEqual(
    [used.chain, used.consumed, used.written, used.bytes, used.taken],
    [1, 4, 4, le(6), taken.time],
  );
  assert.ok(interrupted?.type === 'interrupted' && interrupted.queue === 0);
  b.ask('q', le(9), 4);
  assert.deepEqual(
    seen().flatMap((event) => ('chain' in event ? event.chain : [])),
    [2, 2],
  );
});

test('2.7.7: an interrupt that the driver does not want is told as suppressed', () => {
  const { bench: b, seen } = bench();
  b.ask('q', le(5), 4);
  b.drivers[0]!.queue.disableInterrupts();
  seen();
  b.ask('q', le(5), 4);
  assert.deepEqual(types(seen()).slice(-2), ['used', 'interrupt-suppressed']);
});

test('of bytes only so many are kept; the device still has them all', () => {
  const { bench: b, seen } = bench(3);
  seen();
  assert.deepEqual(b.ask('q', le(0x01020304), 4), le(0x01020305));
  const bytes = seen().flatMap((event) =>
    event.type === 'taken' || event.type === 'used' ? event.bytes : [],
  );
  assert.deepEqual(
    bytes.map((kept) => [...kept]),
    [
      [4, 3, 2],
      [5, 3, 2],
    ],
  );
});

test('the device reads what is shown, also where the driver changes it meanwhile', () => {
  const taken: Chain[] = [];
  const events: InspectEvent[] = [];
  const device = defineDevice({
    id: 60,
    name: 'keeper',
    queues: [
      {
        name: 'q',
        size: 8,
        posted: (_, queue) => {
          const chain = queue.pop();
          if (chain !== undefined) taken.push(chain);
        },
      },
    ],
  })();
  const listener = { hear: (event: InspectEvent) => void events.push(event), bytes: 6 };
  const monitor = new Observer(device, { connection: 1, socket: '', transport: '' }, [listener], () => 0);
  const b = new DeviceBench(device, { monitor });
  const driver = b.drivers[0]!;
  const sent = driver.sent([Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)], [])!;
  b.kick('q');
  driver.memory.write(sent.readable[0]!.address, new Uint8Array(8).fill(9));
  const [chain] = taken as [Chain];
  const into = new Uint8Array(8);
  assert.equal(chain.read(into, 0, 2), 2);
  assert.equal(chain.read(into, 2), 6);
  // Of what is not shown, what lies there now.
  assert.deepEqual([...into], [1, 2, 3, 4, 5, 6, 9, 9]);
  assert.equal(chain.consumed, 8);
  assert.equal(chain.read(into), 0);
  assert.ok(events.some((event) => event.type === 'taken' && [...event.bytes].join() === '1,2,3,4,5,6'));
});

test('the configuration space: reads, writes, and changes by the device', () => {
  const { bench: b, seen } = bench();
  seen();
  b.writeConfig(Config, { step: 2 });
  b.readConfig();
  b.ask('q', le(7), 4);
  const events = seen().filter(({ type }) => type.startsWith('config'));
  assert.deepEqual(
    events.map((event) => [event.type, 'bytes' in event && [...event.bytes]]),
    [
      ['config-written', [2, 0, 0, 0]],
      ['config-read', [2, 0, 0, 0]],
      ['config-changed', [2, 0, 0, 0]],
    ],
  );
});

test('2.7.5.1: a queue that breaks is told with the rule, a reset heals it', () => {
  const { bench: b, seen } = bench();
  const driver = b.drivers[0]!;
  seen();
  driver.send([le(1)], [4]);
  driver.publish();
  driver.memory.write((driver.device.driverArea + 4) as never, Uint8Array.of(200, 0));
  b.runner.kick(0);
  const broken = seen().find(({ type }) => type === 'broken');
  assert.ok(broken?.type === 'broken' && broken.rule === '2.7.6' && /head index 200/.test(broken.error));
  b.reset();
  b.start();
  assert.deepEqual(
    types(seen()),
    ['queue-stopped', 'reset', 'features', 'queue-started', 'running'].slice(1),
  );
});

test('edited code takes over: told, with the device as it is then', () => {
  const { bench: b, seen } = bench();
  seen();
  b.replace(make);
  const replaced = seen().find(({ type }) => type === 'replaced');
  assert.ok(replaced?.type === 'replaced' && replaced.device.name === 'adder');
  assert.deepEqual(b.ask('q', le(5), 4), le(6));
  assert.ok(types(seen()).includes('used'));
});

test('who leaves hears nothing more, and nothing is kept for him', () => {
  const { bench: b, seen, leave } = bench();
  seen();
  leave();
  assert.deepEqual(b.ask('q', le(5), 4), le(6));
  assert.deepEqual(seen(), []);
});

test('chains that the device keeps are kept up to a bound; of more only sizes are told', () => {
  const driver = new PoliteDriver({ size: 128, bytes: 80 << 20 });
  const told: number[] = [];
  const ring = new WatchedRing(new SplitDeviceQueue(driver.device), driver.device, false, {
    ...unheard,
    bytes: 1 << 20,
    taken: (_, bytes) => void told.push(bytes.length),
  });
  const piece = new Uint8Array(1 << 20).fill(7);
  for (let i = 0; i < 70; i++) assert.ok(driver.send([piece]));
  driver.publish();
  const chains: Chain[] = [];
  for (let chain = ring.pop(); chain !== undefined; chain = ring.pop()) chains.push(chain);
  assert.deepEqual(told, [...new Array(64).fill(1 << 20), ...new Array(6).fill(0)]);
  const into = new Uint8Array(4);
  assert.equal(chains.at(-1)!.read(into), 4);
  assert.deepEqual([...into], [7, 7, 7, 7]);
  for (const chain of chains) ring.push(chain);
  ring.publish();
  while (driver.receive() !== undefined);
  driver.send([piece]);
  driver.publish();
  ring.pop();
  assert.equal(told.at(-1), 1 << 20);
});

test('a listener that throws takes nothing from the device', async () => {
  const device = make();
  const thrown: unknown[] = [];
  const catches = (error: unknown): void => void thrown.push(error);
  const own = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException').on('uncaughtException', catches);
  try {
    const hear = (event: InspectEvent): void => {
      if (event.type === 'taken') throw new Error('mine');
    };
    const monitor = new Observer(
      device,
      { connection: 1, socket: '', transport: '' },
      [{ hear, bytes: 4 }],
      () => 0,
    );
    const b = new DeviceBench(device, { monitor });
    assert.deepEqual(b.ask('q', le(5), 4), le(6));
    assert.deepEqual(b.broken, []);
    await new Promise(setImmediate);
    assert.equal((thrown[0] as Error).message, 'mine');
  } finally {
    process.removeListener('uncaughtException', catches);
    for (const listener of own) process.on('uncaughtException', listener);
  }
});

test('2.8.1: chains of packed rings are seen to be made available, over the end of the ring too', () => {
  const driver = new PoliteDriver({ size: 5, packed: true });
  const counts: number[] = [];
  const taken: number[] = [];
  const ring = new WatchedRing(new PackedDeviceQueue(driver.device), driver.device, true, {
    ...unheard,
    bytes: 4,
    available: (count) => void counts.push(count),
    taken: (chain, bytes) => void taken.push(chain.number, bytes[0]!),
  });
  for (let round = 0; round < 7; round++) {
    driver.send([le(round)], [4]);
    driver.send([le(round + 1)]);
    driver.publish();
    ring.seek();
    for (let chain = ring.pop(); chain !== undefined; chain = ring.pop()) ring.push(chain);
    ring.publish();
    assert.ok(driver.receive() !== undefined && driver.receive() !== undefined);
  }
  assert.deepEqual(counts, new Array(7).fill(2));
  assert.deepEqual(taken.slice(0, 8), [1, 0, 2, 1, 3, 1, 4, 2]);
  assert.equal(taken.length, 28);
});
