import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { defineDevice } from './define-device.js';
import { describeBytes } from './describe-bytes.js';
import type { VirtioDevice } from './device.js';
import { combineMonitors, type Monitor } from './monitor.js';
import { bytes, le32, struct, text } from './struct.js';
import { structQueue } from './struct-queue.js';
import { DeviceBench } from './testing/device-bench.js';
import { type ChainTrace, TracedQueue } from './traced-queue.js';

const Double = struct({ n: le32 });

const double = (): VirtioDevice =>
  defineDevice({
    id: 63,
    name: 'double',
    queues: [
      structQueue({ name: 'structs', request: Double, response: Double, handle: ({ n }) => ({ n: 2 * n }) }),
      {
        name: 'raw',
        handle(chain) {
          const first = new Uint8Array(2);
          chain.read(first);
          chain.skip(1);
          chain.write(first, 1, 1);
          chain.write(chain.readRest());
        },
      },
    ],
  })();

function traced(device: VirtioDevice): { bench: DeviceBench; traces: ChainTrace[] } {
  const traces: ChainTrace[] = [];
  let bench: DeviceBench | undefined;
  const now = (): number => bench?.clock.now() ?? 0;
  bench = new DeviceBench(device, {
    monitor: {
      queue: (queue, spec) => new TracedQueue(queue, spec, now, (trace) => void traces.push(trace)),
    },
  });
  return { bench, traces };
}

describe('a traced queue', () => {
  test('tells each chain by the declared structs', () => {
    const { bench, traces } = traced(double());
    assert.deepEqual(Double.decode(bench.ask(0, Double.encode({ n: 21 }), 4)!), { n: 42 });
    assert.deepEqual(traces, [
      {
        queue: 'structs',
        head: 0,
        readable: 4,
        writable: 4,
        written: 4,
        request: 'n=21',
        response: 'n=42',
        time: 0,
      },
    ]);
  });

  test('tells what has no struct as hex, as far as the device read and wrote it', () => {
    const { bench, traces } = traced(double());
    assert.deepEqual([...bench.ask(1, Uint8Array.of(1, 2, 3, 0xab), 8)!], [2, 0xab]);
    const { request, response, readable, writable, written } = traces[0]!;
    assert.deepEqual({ request, response }, { request: '0102ab (1 byte skipped)', response: '02ab' });
    assert.deepEqual([readable, writable, written], [4, 8, 2]);
  });

  test('tells how long the device had it, also when another took its place meanwhile', () => {
    const device = double();
    const { bench, traces } = traced(device);
    device.queueNotified = (queue) => {
      const chain = queue.pop();
      if (chain === undefined) return;
      const clock = bench.clock.alarm(() => {
        queue.push(chain);
        queue.flush();
      });
      clock.set(1500);
    };
    bench.ask(0, Double.encode({ n: 1 }), 4);
    bench.advance(500);
    bench.runner.replace(double());
    bench.advance(1000);
    assert.ok(bench.drivers[0]!.receive());
    assert.equal(traces[0]!.time, 1500);
    bench.ask(0, Double.encode({ n: 5 }), 4);
    assert.equal(traces[1]!.response, 'n=10');
  });
});

describe('bytes in words', () => {
  const shape = struct({ n: le32, name: text(4), raw: bytes(2) });
  test('a struct, and what is behind it', () => {
    const encoded = shape.encode({ n: 7, name: 'a\x1b"', raw: Uint8Array.of(1, 2) });
    assert.equal(describeBytes(encoded, encoded.length, shape), 'n=7 name="a\\u001b\\"" raw=0102');
    const longer = Uint8Array.of(...encoded, 0xff);
    assert.equal(describeBytes(longer, longer.length, shape), 'n=7 name="a\\u001b\\"" raw=0102 + ff');
  });

  test('too short for the struct, long, or nothing', () => {
    assert.equal(describeBytes(Uint8Array.of(1, 2), 2, shape), '0102');
    assert.equal(describeBytes(new Uint8Array(40), 100), `${'00'.repeat(32)}... (68 bytes more)`);
    assert.equal(describeBytes(new Uint8Array(), 0, shape), '');
  });
});

test('monitors hear of kicks, interrupts and what breaks; several are asked in order', () => {
  const heard: unknown[] = [];
  const monitor = (name: string): Monitor => ({
    queue(queue, spec) {
      heard.push(`${name} ${spec.name}`);
      return queue;
    },
    kicked: (queue) => void heard.push(`${name} kicked ${queue}`),
    interrupted: (queue) => void heard.push(`${name} interrupted ${queue}`),
    broke: (queue) => void heard.push(`${name} broke ${queue}`),
  });
  const device = double();
  const bench = new DeviceBench(device, {
    features: 0n,
    monitor: combineMonitors([monitor('a'), {}, monitor('b')]),
  });
  assert.deepEqual(heard.splice(0), ['a structs', 'b structs', 'a raw', 'b raw']);
  bench.ask(1, Uint8Array.of(1, 2, 3), 8);
  const both = (what: string): string[] => [`a ${what}`, `b ${what}`];
  assert.deepEqual(heard.splice(0), [...both('kicked 1'), ...both('interrupted 1')]);
  device.queueNotified = (queue) => queue.fail(new Error('no'));
  bench.kick(0);
  device.queueNotified = () => {
    throw new Error('no');
  };
  bench.kick(1);
  assert.deepEqual(
    heard.filter((what) => /broke/.test(`${what}`)),
    [...both('broke 0'), ...both('broke undefined')],
  );
});
