import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { keyboard } from '../../examples/input.js';
import { DeviceBench } from '../../src/index.js';

const EVENTQ = 0;
const STATUSQ = 1;
const [EV_KEY, EV_LED] = [1, 0x11];

/** What the configuration space answers. */
function ask(bench: DeviceBench, select: number, subsel: number): Buffer {
  bench.runner.writeConfig(0, Uint8Array.of(select, subsel));
  const config = bench.runner.readConfig(0, 136);
  assert.deepEqual([...config.subarray(0, 2)], [select, subsel]);
  assert.deepEqual(Buffer.from(config.subarray(8 + config[2]!)), Buffer.alloc(128 - config[2]!));
  return Buffer.from(config.subarray(8, 8 + config[2]!));
}

/** `type:code:value` of all events that came. */
function events(bench: DeviceBench): string[] {
  const all: string[] = [];
  for (;;) {
    const answer = bench.drivers[EVENTQ]!.receive();
    if (answer === undefined) return all;
    const event = Buffer.from(answer.bytes);
    all.push(`${event.readUInt16LE(0)}:${event.readUInt16LE(2)}:${event.readUInt32LE(4)}`);
  }
}

function post(bench: DeviceBench, count: number): void {
  for (let i = 0; i < count; i++) bench.drivers[EVENTQ]!.send([], [8]);
  bench.kick(EVENTQ);
}

/** `Ab` and Enter, key by key. */
const AB = [
  ...['1:42:1', '0:0:0', '1:30:1', '0:0:0', '1:30:0', '0:0:0', '1:42:0', '0:0:0'],
  ...['1:48:1', '0:0:0', '1:48:0', '0:0:0', '1:28:1', '0:0:0', '1:28:0', '0:0:0'],
];

describe('the input example', () => {
  test('5.8.5: the driver asks what the keyboard is through select and subsel', () => {
    const bench = new DeviceBench(keyboard({ sentence: 'a' })());
    assert.equal(ask(bench, 1, 0).toString(), 'virtio-misc keyboard');
    assert.deepEqual([...ask(bench, 3, 0)], [6, 0, 0, 0, 0, 0, 1, 0]);
    const keys = ask(bench, 0x11, EV_KEY);
    const has = (key: number): boolean => ((keys[key >> 3] ?? 0) & (1 << (key & 7))) !== 0;
    assert.deepEqual([1, 2, 14, 16, 28, 42, 57, 58].map(has), [
      false,
      true,
      false,
      true,
      true,
      true,
      true,
      false,
    ]);
    assert.deepEqual([...ask(bench, 0x11, EV_LED)], [2]);
    for (const [select, subsel] of [
      [0, 0],
      [1, 1],
      [2, 0],
      [0x10, 0],
      [0x11, 0],
      [0x11, 2],
      [0x12, 0],
      [255, 255],
    ] as const)
      assert.equal(ask(bench, select, subsel).length, 0, `${select}, ${subsel}`);
  });

  test('5.8.6: keys go down and up, each movement ended by EV_SYN, over and over', () => {
    const bench = new DeviceBench(keyboard({ sentence: 'Ab', every: 10 })());
    post(bench, 50);
    bench.advance(9e6);
    assert.deepEqual(events(bench), []);
    bench.advance(1e6);
    assert.deepEqual(events(bench), AB.slice(0, 2));
    bench.advance(160e6);
    assert.deepEqual(events(bench), [...AB.slice(2), ...AB, ...AB].slice(0, 32));
  });

  test('a driver without buffers loses nothing, and no more than one movement waits for it', () => {
    const bench = new DeviceBench(keyboard({ sentence: 'Ab', every: 10 })());
    bench.advance(1e9);
    post(bench, 1);
    assert.deepEqual(events(bench), AB.slice(0, 1));
    bench.advance(1e9);
    post(bench, 3);
    assert.deepEqual(events(bench), AB.slice(1, 2));
    bench.advance(10e6);
    post(bench, 9);
    bench.advance(40e6);
    assert.deepEqual(events(bench), AB.slice(2, 12));
    assert.deepEqual([bench.warnings, bench.broken], [[], []]);
  });

  test('5.8.6: the caps lock lamp is the driver to switch; other lamps and junk are taken and ignored', () => {
    const bench = new DeviceBench(keyboard()());
    const status = (...bytes: number[]): void => {
      assert.equal(bench.ask(STATUSQ, Uint8Array.from(bytes), 0)?.length, 0);
    };
    status(0x11, 0, 1, 0, 1, 0, 0, 0);
    status(0x11, 0, 0, 0, 1, 0, 0, 0);
    status(0x11, 0, 1, 0, 0, 0, 0, 0);
    status(1, 2, 3);
    assert.deepEqual(bench.lines, ['caps lock is on', 'caps lock is off']);
    assert.equal(bench.warnings.length, 1);
  });

  test('when the process dies, it goes on with the movement that the driver does not have all of', () => {
    const bench = new DeviceBench(keyboard({ sentence: 'Ab', every: 10 })());
    post(bench, 5);
    bench.advance(30e6);
    assert.deepEqual(events(bench), AB.slice(0, 5));
    bench.restart(keyboard({ sentence: 'Ab', every: 10 })());
    post(bench, 4);
    bench.advance(20e6);
    assert.deepEqual(events(bench), AB.slice(4, 8));
  });

  test('edited code lets go of all keys, and types on', () => {
    const bench = new DeviceBench(keyboard({ sentence: 'Ab', every: 10 })());
    post(bench, 60);
    bench.advance(10e6);
    assert.deepEqual(events(bench), AB.slice(0, 2));
    bench.runner.replace(keyboard({ sentence: 'b', every: 10 })());
    bench.advance(10e6);
    const released = events(bench);
    assert.ok(released.includes('1:42:0') && released.every((event) => /^1:\d+:0$|^0:0:0$/.test(event)));
    assert.equal(released.at(-1), '0:0:0');
    post(bench, 20);
    bench.advance(20e6);
    assert.deepEqual(events(bench), ['1:48:1', '0:0:0', '1:48:0', '0:0:0']);
  });

  test('what is not on the keyboard is refused', () => {
    assert.throws(() => keyboard({ sentence: 'naïve' }), /no key for 'ï'/);
  });
});
