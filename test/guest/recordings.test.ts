import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { blk } from '../../examples/blk.js';
import type { Chain, DeviceQueue, MakeDevice, VirtioDevice } from '../../src/index.js';
import type { InspectEvent } from '../../src/observe/event.js';
import { connectionsOf } from '../../src/record/connection-events.js';
import type { Difference } from '../../src/record/difference.js';
import { Recorder } from '../../src/record/recorder.js';
import { RecordingReader } from '../../src/record/recording-reader.js';
import { Replay } from '../../src/record/replay.js';
import { tshark } from '../interop/tshark.js';
import { virtioMisc } from '../virtio-misc.js';
import { diskTools } from './examples/disk-tools.js';
import { runGuest } from './guest.js';

const MIB = 1024 * 1024;
const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** Plays what a guest did to another device. */
async function replay(
  events: readonly InspectEvent[],
  make: MakeDevice,
): Promise<[number, Difference | undefined]> {
  let count = 0;
  for (const connection of connectionsOf(events)) {
    const player = new Replay(connection, make(), { turn: () => sleep(1), now: () => performance.now() });
    const difference = await player.run();
    count += player.count;
    if (difference !== undefined) return [count, difference];
  }
  return [count, undefined];
}

/** The same disk, but for a byte of the answer to one read. */
function planted(make: MakeDevice, nth: number): MakeDevice {
  return () => {
    const device: VirtioDevice = make();
    const notified = device.queueNotified.bind(device);
    let reads = 0;
    const wrong = (chain: Chain): Chain =>
      new Proxy(chain, {
        get(inner, name) {
          if (name === 'write')
            return (from: Uint8Array, start = 0, length = from.length - start): number => {
              const bytes = from.slice(start, start + length);
              if (length > 1) bytes[5]! ^= 1;
              return inner.write(bytes);
            };
          const value = Reflect.get(inner, name, inner) as unknown;
          return typeof value === 'function' ? value.bind(inner) : value;
        },
      });
    const inners = new WeakMap<Chain, Chain>();
    const around = (queue: DeviceQueue): DeviceQueue => ({
      index: queue.index,
      name: queue.name,
      get ready() {
        return queue.ready;
      },
      pop() {
        const chain = queue.pop();
        // A read has room for more than a status.
        if (chain === undefined || chain.writable < 512 || ++reads !== nth) return chain;
        const proxy = wrong(chain);
        inners.set(proxy, chain);
        return proxy;
      },
      push: (chain) => queue.push(inners.get(chain) ?? chain),
      adopt: (chain) => queue.adopt(chain),
      serialOf: (chain) => queue.serialOf(inners.get(chain) ?? chain),
      isOut: (head, serial) => queue.isOut(head, serial),
      fail: (error) => queue.fail(error),
      flush: () => queue.flush(),
    });
    device.queueNotified = (queue) => notified(around(queue));
    return device;
  };
}

test("a guest's mkfs.ext4, recorded, is replayed without a difference; a planted bug is named exactly", async () => {
  const [file, copy, third] = ['disk', 'copy', 'third'].map((name) => join(folder, `${name}.img`)) as [
    string,
    string,
    string,
  ];
  writeFileSync(file, Buffer.alloc(32 * MIB));
  for (const other of [copy, third]) copyFileSync(file, other);
  const reader = new RecordingReader();
  const write = (blocks: Uint8Array): boolean => {
    reader.push(blocks);
    return true;
  };
  const recorder = new Recorder({ write }, 'a test', () => Date.now());
  const files = await diskTools();
  const command = `set -e
    /tools/mke2fs -q -t ext4 /dev/vda
    mount -t ext4 /dev/vda /mnt
    cp -a /bin /mnt
    echo something >/mnt/file
    umount /mnt
    /tools/e2fsck -f -n /dev/vda`;
  const observer = recorder.listener(16 * MIB);
  const { exitCode, console } = await runGuest(blk({ file }), 'vhost-user', command, { files, observer });
  assert.equal(exitCode, 0, console.join('\n'));
  recorder.flush();
  const events: InspectEvent[] = [];
  for (let event = reader.next(); event !== undefined; event = reader.next()) events.push(event);
  reader.end();
  const [count, difference] = await replay(events, blk({ file: copy }));
  assert.equal(difference, undefined);
  assert.ok(count > 100, `${count} requests`);
  assert.ok(readFileSync(copy).equals(readFileSync(file)), 'the disk is what the guest made of it');

  const reads = events.filter((event) => event.type === 'taken' && event.writable >= 512);
  const nth = Math.floor(reads.length / 2);
  const [, wrong] = await replay(events, planted(blk({ file: third }), nth));
  const read = reads[nth - 1];
  assert.ok(read?.type === 'taken' && wrong?.event.type === 'used');
  assert.deepEqual([wrong.event.queue, wrong.event.chain], [read.queue, read.chain]);
  assert.match(wrong.text, /^requestq1: chain \d+ is answered otherwise$/);
  assert.match(
    wrong.detail.join('\n'),
    /request .*type="IN".* sector=\d+[\s\S]*differs {3}data\[5\]: \d+ was recorded, \d+ came/,
  );
});

test('vm --record: tshark shows what the programs in the guest did, by name; replay finds it as recorded', async () => {
  const echo = join(folder, 'echo.pcapng');
  const timers = join(folder, 'timers.pcapng');
  for (const [device, file, command] of [
    ['test', echo, './virtio 10'],
    ['misc', timers, './misc-timer 500 250 1000'],
  ] as const) {
    const { code, stderr } = await virtioMisc(
      'vm',
      '--device',
      device,
      '--quiet',
      '--record',
      file,
      '--exec',
      command,
    );
    assert.equal(code, 0, stderr);
    const { lines, code: same } = await virtioMisc('replay', file);
    assert.equal(same, 0, lines.join('\n'));
  }
  const shark = await tshark(folder);
  const has = (lines: readonly string[], pattern: RegExp): void =>
    assert.ok(
      lines.some((line) => pattern.test(line)),
      lines.join('\n'),
    );
  const requests = await shark('-r', echo);
  has(requests, /print #1 taken type=10 arg1=11 arg2=12 arg3=13 arg4="hello back end!"/);
  has(requests, /print #1 used ret=111 arg1=112 arg2=113/);
  const notifications = await shark('-r', timers);
  for (const pattern of [
    /controlq #\d+ taken SET_TIMER(_NS)? .*500/,
    /controlq #\d+ used status=0/,
    /notifyq #3 used TIMER_EXPIRED request_id=\d+/,
  ])
    has(notifications, pattern);
});
