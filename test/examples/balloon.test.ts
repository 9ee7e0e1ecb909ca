import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { balloon } from '../../examples/balloon.js';
import { DeviceBench, le16, le32, le64, struct, tail } from '../../src/index.js';

const Config = struct({ num_pages: le32, actual: le32 });
const Pages = struct({ pfns: tail(le32, 1024) });
const Stats = struct({ stats: tail(struct({ tag: le16, value: le64 }), 64) });
const MIB = 1 << 20;

/** Sends statistics, as the driver does whenever its buffer comes back. */
function send(bench: DeviceBench, free: number): void {
  bench.drivers[2]!.send([
    Stats.encode({
      stats: [
        { tag: 4, value: free },
        { tag: 99, value: 1 },
      ],
    }),
  ]);
  bench.kick('statsq');
}

/** Asks for new statistics. */
function ask(bench: DeviceBench): Promise<unknown> {
  const answer = Promise.resolve(bench.runner.device.control!('stats', []));
  bench.settle();
  return answer;
}

const back = (bench: DeviceBench): number => bench.received('statsq').length;

describe('the balloon example', () => {
  test('5.5.4: asks for pages, and counts those that it gets', async () => {
    const bench = new DeviceBench(balloon(16 * MIB));
    assert.deepEqual(bench.readConfig(Config), { num_pages: 4096, actual: 0 });
    assert.equal((await bench.request('inflateq', Pages.encode({ pfns: [1, 2, 3] }), 0)).length, 0);
    assert.equal((await bench.request('deflateq', Pages.encode({ pfns: [2] }), 0)).length, 0);
    bench.writeConfig(Config, { actual: 2560 });
    assert.deepEqual(bench.readConfig(Config), { num_pages: 4096, actual: 2560 });
    assert.deepEqual(bench.lines, ['the guest gave 3 pages', 'the guest took 1 pages back']);
  });

  test('5.5.6.3: keeps the statistics buffer until it wants new ones', async () => {
    const bench = new DeviceBench(balloon(0));
    send(bench, 100);
    bench.advance(60e9);
    assert.equal(back(bench), 0);
    const stats = ask(bench);
    send(bench, 90);
    assert.deepEqual(await stats, { free: 90 });
  });

  test('gives it back at once when its queue is stopped, so that nobody waits', () => {
    const bench = new DeviceBench(balloon(0));
    send(bench, 100);
    assert.equal(bench.stop('statsq'), true);
    assert.equal(back(bench), 1);
  });

  test('hands it over to edited code, with what was asked for', async () => {
    const bench = new DeviceBench(balloon(0));
    send(bench, 100);
    bench.replace(balloon(4 * MIB));
    assert.equal(back(bench), 0);
    const stats = ask(bench);
    send(bench, 80);
    assert.deepEqual(await stats, { free: 80 });
    assert.equal(bench.stop('statsq'), true);
    assert.equal(bench.readConfig(Config).num_pages, 1024, 'which is the new code’s');
  });

  test('takes what a hostile driver sends', () => {
    const bench = new DeviceBench(balloon(0));
    for (const bytes of [new Uint8Array(1), new Uint8Array(7), new Uint8Array(5000)]) {
      bench.drivers[2]!.send([bytes]);
      bench.kick('statsq');
    }
    assert.equal(back(bench), 2, 'one is kept');
    bench.ask('inflateq', new Uint8Array(4097), 0);
    assert.deepEqual(bench.broken, []);
    assert.match(bench.warnings[0]!, /got 4097 bytes and room for 0, expected 0 to 4096 of \{ pfns \}/);
  });

  test('a reset takes the buffer away', async () => {
    const bench = new DeviceBench(balloon(0));
    send(bench, 1);
    bench.reset();
    bench.start();
    await assert.rejects(async () => ask(bench), /posted no buffer/);
    assert.deepEqual([back(bench), bench.broken, bench.warnings], [0, [], []]);
  });
});
