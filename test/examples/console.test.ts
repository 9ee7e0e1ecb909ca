import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import device from '../../examples/console.js';
import { DeviceBench } from '../../src/index.js';

const RECEIVEQ = 0;
const TRANSMITQ = 1;

class Terminal extends DeviceBench {
  constructor() {
    super(device());
  }

  /** Posts buffers to be filled. */
  postRooms(...rooms: number[]): void {
    for (const room of rooms) this.drivers[RECEIVEQ]!.send([], [room]);
    this.kick(RECEIVEQ);
  }

  send(bytes: Uint8Array): void {
    this.drivers[TRANSMITQ]!.send([bytes]);
    this.kick(TRANSMITQ);
    assert.equal(this.drivers[TRANSMITQ]!.receive()?.bytes.length, 0, 'what was sent comes back at once');
  }

  /** What was received, a string for each buffer. */
  texts(): string[] {
    const texts: string[] = [];
    for (;;) {
      const answer = this.drivers[RECEIVEQ]!.receive();
      if (answer === undefined) return texts;
      texts.push(Buffer.from(answer.bytes).toString('latin1'));
    }
  }
}

describe('the console example', () => {
  test('5.3.6: what is sent is received', () => {
    const terminal = new Terminal();
    terminal.postRooms(100, 100);
    assert.deepEqual(terminal.texts(), []);
    terminal.send(Buffer.from('hello'));
    terminal.send(Buffer.from('you'));
    assert.deepEqual(terminal.texts(), ['hello', 'you']);
  });

  test('what finds no buffer waits for one, in order, and is cut to what fits', () => {
    const terminal = new Terminal();
    terminal.send(Buffer.from('abcdef'));
    terminal.send(Buffer.from('ghi'));
    terminal.postRooms(4);
    assert.deepEqual(terminal.texts(), ['abcd']);
    terminal.postRooms(3, 100, 100);
    assert.deepEqual(terminal.texts(), ['efg', 'hi']);
    terminal.send(Buffer.from('j'));
    assert.deepEqual(terminal.texts(), ['j']);
    assert.deepEqual(terminal.warnings, []);
  });

  test('a driver that never reads costs 64 KiB at most', () => {
    const terminal = new Terminal();
    const sent = Buffer.alloc(40_000, 'x');
    terminal.send(sent);
    terminal.send(sent);
    terminal.send(Buffer.from('more'));
    assert.deepEqual(terminal.warnings, [
      'virtio-console: 14464 bytes that nobody reads are lost',
      'virtio-console: 4 bytes that nobody reads are lost',
    ]);
    terminal.postRooms(100_000);
    assert.deepEqual(terminal.texts(), ['x'.repeat(65_536)]);
  });

  test('edited code goes on with what waits', () => {
    const terminal = new Terminal();
    terminal.send(Buffer.from('from before'));
    terminal.runner.replace(device());
    terminal.postRooms(100);
    assert.deepEqual(terminal.texts(), ['from before']);
  });

  test('what waits is not lost when the process dies, and nothing comes twice that the driver has', () => {
    const terminal = new Terminal();
    terminal.send(Buffer.from('abcdef'));
    terminal.postRooms(4);
    terminal.restart(device());
    terminal.postRooms(1);
    terminal.restart(device());
    terminal.send(Buffer.from('g'));
    terminal.postRooms(100);
    assert.deepEqual(terminal.texts(), ['abcd', 'e', 'fg']);
    assert.deepEqual(terminal.warnings, []);
  });

  test('what waits goes round in its memory, and is saved for another machine', () => {
    const terminal = new Terminal();
    for (let i = 0; i < 40; i++) {
      terminal.send(Buffer.alloc(5000, `${i % 10}`));
      if (i >= 10) terminal.postRooms(5000);
    }
    const state = terminal.runner.save();
    const there = new Terminal();
    there.reset();
    there.runner.restore(state);
    there.start();
    there.postRooms(100_000);
    terminal.postRooms(100_000);
    const all = Array.from({ length: 40 }, (_, i) => `${i % 10}`.repeat(5000));
    assert.equal(terminal.texts().join(''), all.join(''));
    assert.equal(there.texts().join(''), all.slice(30).join(''));
  });

  test('2.4: a reset forgets what waits', () => {
    const make = device();
    const first = new DeviceBench(make);
    first.drivers[TRANSMITQ]!.send([Buffer.from('old')]);
    first.kick(TRANSMITQ);
    first.runner.reset();
    const second = new DeviceBench(make);
    second.drivers[RECEIVEQ]!.send([], [100]);
    second.kick(RECEIVEQ);
    assert.equal(second.drivers[RECEIVEQ]!.receive(), undefined);
  });
});
