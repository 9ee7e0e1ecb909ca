import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { on, once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { checkDisk, makeDisk, SCRIPT, sayEnough } from './disk-under-load.js';
import { diskTools } from './examples/disk-tools.js';
import { boot } from './guest.js';

/** `VIRTIO_MISC_KILLS=200` for the long way. */
const KILLS = Number(process.env.VIRTIO_MISC_KILLS ?? 3);

/** A guest boots for each; packed rings the long way only. */
const RINGS = KILLS > 3 ? ['split', 'packed'] : ['split'];

const PROGRAM = fileURLToPath(new URL('../kills/blk-backend.js', import.meta.url));

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
    makeDisk(file);
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
      sayEnough(file);
      const files = checkDisk(await guest);
      assert.deepEqual(disks.complaints, []);
      t.diagnostic(`${KILLS} kills, ${files} files`);
    } finally {
      disks.close();
      rmSync(folder, { recursive: true, force: true });
    }
  });
}
