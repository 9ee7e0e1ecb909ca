import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { MAIN } from '../virtio-misc.js';

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** For what a person waits for to come on the screen, in milliseconds: no measure of speed, but a failure that says what is there. */
const PATIENCE = 60_000;

/** `script` of bsdutils, which every Debian has: a terminal of its own, with this program in it. */
class Person {
  readonly #child: ChildProcess;
  #screen = '';
  #changed: () => void = () => {};
  readonly ended: Promise<number>;

  constructor(args: string, { before: first = '' } = {}) {
    const program = `stty rows 41 cols 101; ${first} "${process.execPath}" "${MAIN}" ${args}`;
    // Its user's own shell may be another one, and what says how to colour is the terminal alone.
    const env: NodeJS.ProcessEnv = { ...process.env, TERM: 'xterm', SHELL: '/bin/sh' };
    for (const name of ['CI', 'NO_COLOR', 'FORCE_COLOR']) delete env[name];
    this.#child = spawn('script', ['--quiet', '--return', '--command', program, '/dev/null'], { env });
    this.#child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.#screen += text;
      this.#changed();
    });
    this.ended = once(this.#child, 'close').then(([code]) => {
      this.#changed();
      return code as number;
    });
  }

  /** Waits until this is on the screen, below what was seen last; that and all above is seen then. */
  async sees(what: RegExp): Promise<string> {
    let over = false;
    const end = (): void => {
      over = true;
      this.#changed();
    };
    void this.ended.then(end);
    const patience = setTimeout(end, PATIENCE);
    for (;;) {
      const found = what.exec(this.#screen);
      if (found !== null) {
        this.#screen = this.#screen.slice(found.index + found[0].length);
        clearTimeout(patience);
        return found[0];
      }
      assert.ok(!over, `the end, or a minute, without ${what}: ${JSON.stringify(this.#screen)}`);
      await new Promise<void>((resolve) => {
        this.#changed = resolve;
      });
    }
  }

  types(keys: string): void {
    this.#child.stdin!.write(keys);
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}

test('a shell in the guest: keys, size, Ctrl-C, completion and history; device lines apart; exit', async () => {
  const go = join(folder, 'go');
  const resize = `tty=$(tty); (until [ -e ${go} ]; do sleep 0.1; done; stty rows 33 cols 77 <$tty) &`;
  const person = new Person('vm --device test --metrics 0', { before: resize });
  try {
    const metrics = (await person.sees(/http:\/\/127\.0\.0\.1:\d+\/metrics/)).trim();
    await person.sees(/Booting Linux .* \(tcg\)/);
    await person.sees(/A shell in the guest: Ctrl-A x ends it, Ctrl-A h helps\./);
    await person.sees(/guest:\/root# /);
    person.types('stty size; echo $TERM on $(tty)\r');
    await person.sees(/^41 101\r+\nxterm on \/dev\/ttyS0\r+$/m);

    await person.sees(/guest:\/root# /);
    person.types('./virtio 10\r');
    // The name is coloured.
    await person.sees(/virtio-test \|\S+ QEMU_BACK_END: >>> get type \[ 10 \]/);
    await person.sees(/virtio response arg2 is 113/);
    assert.match(await (await fetch(metrics)).text(), /virtio_misc_chains_total\{device="virtio-test".* 1$/m);

    // One that says so itself: between two commands of its own, busybox's shell forgets a Ctrl-C.
    person.types("sh -c 'echo waiting; exec sleep 1000'\r");
    await person.sees(/^waiting\r+$/m);
    writeFileSync(go, '');
    person.types('\x03');
    await person.sees(/guest:\/root# /);
    person.types('until [ "$(stty size)" = "33 77" ]; do sleep 0.1; done; echo resized\r');
    await person.sees(/^resized\r+$/m);

    await person.sees(/guest:\/root# /);
    // Completed to `uname`, then called back.
    person.types('unam\t -s\r');
    await person.sees(/^Linux\r+$/m);
    await person.sees(/guest:\/root# /);
    person.types('\x1b[A | tr a-z A-Z\r');
    await person.sees(/^LINUX\r+$/m);

    person.types('\x01h');
    await person.sees(/Ctrl-A x {2}ends the guest/);
    person.types('exit 3\r');
    assert.equal(await person.ended, 3);
  } finally {
    person.kill();
  }
});

const DEVICE = `import { defineDevice, le32, struct } from 'virtio-misc';
export default defineDevice({
  id: 46,
  name: 'virtio-answer',
  config: { struct: struct({ answer: le32 }), initial: { answer: 42 } },
  queues: [{ name: 'q', handle: () => {} }],
  activate: ({ print }) => print('the old code'),
});
`;

test('the device’s file is saved while the shell runs; reboot; Ctrl-A x', async () => {
  const device = join(folder, 'answer.ts');
  writeFileSync(device, DEVICE);
  const lines = join(folder, 'lines');
  const person = new Person(`vm --device ${device} 2>${lines}`);
  try {
    await person.sees(/guest:\/root# /);
    writeFileSync(device, DEVICE.replace('old', 'new'));
    // Asked of the host, where stderr was sent.
    while (!/reloaded; the front-end stays|\breloaded\b/.test(readFileSync(lines, 'utf8')))
      await new Promise((resolve) => setTimeout(resolve, 20));
    person.types('reboot\r');
    await person.sees(/BusyBox[\s\S]*guest:\/root# /);
    person.types('\x01x');
    assert.equal(await person.ended, 0);
    assert.match(readFileSync(lines, 'utf8'), /^virtio-misc: stopped by Ctrl-A x$/m);
  } finally {
    person.kill();
  }
});

test('a shell that takes longer than --timeout is ended, and the terminal is as before', async () => {
  const person = new Person('vm --device test --timeout 1s; stty -a');
  try {
    await person.sees(/the guest's shell took longer than 1 s/);
    await person.sees(/[^-]isig [^-]?icanon/);
    await person.ended;
  } finally {
    person.kill();
  }
});
