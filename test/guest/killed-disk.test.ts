import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { on, once } from 'node:events';
import { mkdtempSync, openSync, rmSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { diskTools } from './examples/disk-tools.js';
import { boot, KERNEL_COMPLAINT } from './guest.js';

/** `VIRTIO_MISC_KILLS=200` for the long way. */
const KILLS = Number(process.env.VIRTIO_MISC_KILLS ?? 3);

const MIB = 1024 * 1024;
/** A guest boots for each; packed rings the long way only. */
const RINGS = KILLS > 3 ? ['split', 'packed'] : ['split'];

/** What the file system does not have: the host says there that it is enough. */
const SIZE = 64 * MIB;
const LAST = SIZE / 512 - 1;

const PROGRAM = fileURLToPath(new URL('../kills/blk-backend.js', import.meta.url));

/** Files come and go, by several at once, each checked when it is read again from the disk, until the host has had enough. */
const SCRIPT = `
  set -e
  /tools/mke2fs -q -t ext4 /dev/vda 60M
  mount -t ext4 /dev/vda /mnt
  cp -a /tools /mnt/tree
  cd /mnt
  find tree -type f | sort | xargs sha256sum >/tmp/tree
  echo begin
  worker() {
    round=0
    while [ ! -e /tmp/enough ]; do
      round=$((round + 1))
      head -c $((round % 7 * 65537 + $1 * 4099)) /dev/urandom >$1.new
      sha256sum <$1.new >/tmp/$1.sum
      sync $1.new
      mv $1.new $1.old
      echo 1 >/proc/sys/vm/drop_caches
      sha256sum <$1.old | cmp -s - /tmp/$1.sum || echo wrong $1 $round
    done
    echo worker $1 made $round files
  }
  for n in 1 2 3 4; do worker $n & done
  # And somebody who always has much under way.
  for n in 1 2 3 4 5 6; do
    while [ ! -e /tmp/enough ]; do dd if=/dev/vda of=/dev/null bs=32k skip=$((n * 256)) count=64 iflag=direct 2>/dev/null; done &
  done
  until dd if=/dev/vda bs=512 skip=${LAST} count=1 iflag=direct 2>/dev/null | grep -q enough; do sleep 0.2; done
  touch /tmp/enough
  wait
  sha256sum -c -s /tmp/tree && echo the tree is as it was
  cd /
  umount /mnt
  /tools/e2fsck -f -n /dev/vda && echo the file system is sound
`;

/** Disks after each other at one socket, the next one ready before it is needed. */
class Disks {
  readonly complaints: string[] = [];
  readonly #args: readonly string[];
  readonly #kills: number;
  #made = 0;
  #next: ChildProcess;
  #current: ChildProcess | undefined;

  constructor(socket: string, file: string, kills: number) {
    this.#args = [socket, file];
    this.#kills = kills;
    this.#next = this.#make();
  }

  /** The next one serves. @returns what waits until its front-end came. */
  async serve(): Promise<() => Promise<void>> {
    const disk = this.#next;
    this.#current = disk;
    const messages = on(disk, 'message');
    await messages.next();
    disk.send('serve');
    this.#next = this.#make();
    return async () => void (await messages.next());
  }

  /** Waits until it kills itself, and kills it if it takes its time. */
  async kill(): Promise<void> {
    const disk = this.#current!;
    const patience = setTimeout(() => disk.kill('SIGKILL'), Math.random() * 1500);
    if (disk.exitCode === null && disk.signalCode === null) await once(disk, 'exit');
    clearTimeout(patience);
    assert.equal(disk.signalCode, 'SIGKILL', this.complaints.join(''));
  }

  close(): void {
    for (const disk of [this.#current, this.#next]) disk?.kill('SIGKILL');
  }

  #make(): ChildProcess {
    // The first boots the guest, and the last looks at the file system.
    const mortal = this.#made > 0 && this.#made < this.#kills;
    this.#made += 1;
    const dieAt = mortal ? 1 + Math.floor(Math.random() * 300) : 0;
    const disk = fork(PROGRAM, [...this.#args, `${dieAt}`], { stdio: ['ignore', 'inherit', 'pipe', 'ipc'] });
    disk.stderr!.setEncoding('utf8').on('data', (text: string) => this.complaints.push(text));
    return disk;
  }
}

for (const ring of RINGS) {
  test(`QEMU's vhost-user-blk goes on when its disk's process is killed under load, ${KILLS} times: nothing in the file system is wrong, ${ring}`, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
    const [file, socket] = [join(folder, 'disk.img'), join(folder, 'disk.sock')];
    writeFileSync(file, '');
    truncateSync(file, SIZE);
    const disks = new Disks(socket, file, KILLS);
    try {
      let connected = await disks.serve();
      let begin: () => void = () => {};
      const begun = new Promise<void>((resolve) => {
        begin = resolve;
      });
      const qemu = [
        ...['-chardev', `socket,id=disk,path=${socket},reconnect-ms=20`],
        ...[
          '-device',
          `vhost-user-blk-pci,chardev=disk,num-queues=2${ring === 'packed' ? ',packed=on' : ''}`,
        ],
      ];
      const guest = boot(qemu, SCRIPT, {
        cpus: 2,
        files: await diskTools(),
        timeout: 240_000 + 5_000 * KILLS,
        onConsole: (line) => {
          if (line === 'begin') begin();
        },
      });
      guest.catch(() => {});
      await Promise.race([Promise.all([connected(), begun]), guest]);
      for (let kill = 0; kill < KILLS; kill++) {
        await disks.kill();
        connected = await disks.serve();
        await Promise.race([connected(), guest]);
      }
      await sleep(500);
      const disk = openSync(file, 'r+');
      writeSync(disk, 'enough', LAST * 512);
      const { exitCode, console } = await guest;
      const all = console.join('\n');
      assert.equal(exitCode, 0, all);
      assert.match(all, /^the tree is as it was$/m);
      assert.match(all, /^the file system is sound$/m);
      const made = [...all.matchAll(/^worker \d made (\d+) files$/gm)].map(([, count]) => Number(count));
      assert.equal(made.length, 4, all);
      assert.doesNotMatch(all, /^wrong/m);
      assert.deepEqual(
        console.filter(
          (line) => KERNEL_COMPLAINT.test(line) || /I\/O error|EXT4-fs error|is not a head/.test(line),
        ),
        [],
      );
      assert.deepEqual(disks.complaints, []);
      t.diagnostic(`${KILLS} kills, ${made.reduce((a, b) => a + b)} files`);
    } finally {
      disks.close();
      rmSync(folder, { recursive: true, force: true });
    }
  });
}
