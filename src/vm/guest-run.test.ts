import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import { mock, test } from 'node:test';
import type { BootOptions } from './boot-options.js';
import { GuestRun } from './guest-run.js';
import type { GuestImage } from './image.js';
import type { VmError } from './vm-error.js';

/** The other ends: a guest's control channel, the machine, the console, and a clock that stands still. */
class Fake {
  readonly lines: string[] = [];
  readonly sent: string[] = [];
  ends = 0;
  drains = 0;
  readonly run: GuestRun;
  readonly #control: Duplex;

  constructor(exec: string | string[] | undefined, options: Partial<BootOptions> = {}) {
    const onConsole = (line: string): void => void this.lines.push(line);
    this.run = new GuestRun({ exec, onConsole, image: {}, ...options } as BootOptions);
    this.#control = new Duplex({
      read() {},
      write: (bytes: Buffer, _encoding, done) => {
        this.sent.push(bytes.toString());
        done();
      },
    });
    this.run.attach(this.#control, { drainConsole: () => this.drains++, end: () => this.ends++ });
  }

  /** The guest's bytes arrive, in pieces as they may. */
  says(text: string): void {
    this.#control.emit('data', text);
  }

  failure(): VmError {
    try {
      this.run.ended(0, '');
    } catch (error) {
      return error as VmError;
    }
    return assert.fail('no failure');
  }
}

const command = (line: string): string => Buffer.from(line.trim().split(' ')[2]!, 'base64').toString();

function withClock(work: (tick: (milliseconds: number) => void) => void): void {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  try {
    work((milliseconds) => mock.timers.tick(milliseconds));
  } finally {
    mock.timers.reset();
  }
}

test('a command goes to the guest when it is ready, whole, with the modules to load; then it is told to power off', () => {
  const text = 'echo "ä  b"\nexit 3 # \\n';
  const fake = new Fake(text, { load: ['one', 'two'] });
  assert.deepEqual(fake.sent, []);
  fake.says('rea');
  fake.says('dy\n');
  assert.equal(fake.sent.length, 1);
  assert.match(fake.sent[0]!, /^run one,two \S+\n$/);
  assert.equal(command(fake.sent[0]!), text);
  fake.says('exit 3\n');
  assert.equal(fake.sent[1], 'poweroff\n');
  assert.deepEqual(fake.run.ended(0, ''), { exitCode: 3 });
  fake.run.detach();
});

test('the console is shown from a command’s start to its end, and is drained before either counts', () => {
  const fake = new Fake('true');
  fake.run.consoleLine('booting');
  fake.says('ready\n');
  assert.equal(fake.drains, 1);
  fake.run.consoleLine('output');
  fake.says('exit 0\n');
  assert.equal(fake.drains, 2);
  fake.run.consoleLine('power down');
  assert.deepEqual(fake.lines, ['output']);
  fake.run.detach();
});

test('signs of life put off the end of a silent guest, and only they do', () => {
  withClock((tick) => {
    const fake = new Fake('true', { silence: 10_000 });
    fake.says('ready\n');
    for (let times = 0; times < 5; times++) {
      tick(9_999);
      fake.says('alive\n');
    }
    fake.run.consoleLine('hello');
    assert.equal(fake.ends, 0);
    tick(10_000);
    assert.equal(fake.ends, 1);
    assert.equal(fake.failure().code, 'HANG');
    assert.match(fake.failure().message, /no sign of life for 10 s; its last lines:\n {2}\| hello$/);
  });
});

test('a kernel that is slow by design is given its multiple of a minute', () => {
  withClock((tick) => {
    const needs = { memory: 1024, slowness: 5, params: [] };
    const image: GuestImage = { vmlinux: '', initramfs: '', release: '', buildLog: '', needs };
    const fake = new Fake('true', { image });
    tick(299_000);
    assert.equal(fake.ends, 0);
    tick(2_000);
    assert.equal(fake.ends, 1);
    assert.match(fake.failure().message, /boot took longer than 300 s/);
  });
});

test('a boot is given a minute, a command any time, a power-off 15 s', () => {
  withClock((tick) => {
    const fake = new Fake('true');
    tick(60_000);
    assert.match(fake.failure().message, /boot took longer than 60 s/);

    const other = new Fake('true');
    tick(59_999);
    other.says('ready\n');
    for (let hour = 0; hour < 3600; hour += 50) {
      tick(50_000);
      other.says('alive\n');
    }
    other.says('exit 0\n');
    tick(14_999);
    assert.equal(other.ends, 0);
    tick(1);
    assert.equal(other.ends, 1);
    assert.match(other.failure().message, /power-off took longer than 15 s/);
  });
});

test('the first failure counts, and a guest that is being ended is not listened to', () => {
  withClock((tick) => {
    const fake = new Fake('true', { timeout: 1000 });
    fake.says('ready\n');
    tick(1000);
    fake.says('exit 0\nready\n');
    tick(100_000);
    assert.equal(fake.ends, 1);
    assert.equal(fake.sent.length, 1);
    assert.match(fake.failure().message, /command took longer/);
  });
});

test('how QEMU ended says what became of a guest that said nothing', () => {
  const end = (status: number | string, line = 'x'): VmError => {
    const fake = new Fake('true');
    fake.says('ready\n');
    fake.run.consoleLine(line);
    fake.run.detach();
    try {
      fake.run.ended(status, 'words of QEMU');
    } catch (error) {
      return error as VmError;
    }
    return assert.fail('no failure');
  };
  assert.equal(end(0).code, 'GONE');
  assert.equal(end(1).message, 'QEMU ended with 1: words of QEMU');
  assert.equal(end('SIGSEGV').code, 'QEMU');
  assert.match(
    end(0, '[    1.0] Kernel panic - not syncing: Fatal exception').message,
    /panicked \(Fatal exception\)/,
  );
});

test('lines that a guest should not send do no harm', () => {
  const fake = new Fake('true');
  fake.says('ready\nnonsense\n\nexit\nexit 7\n');
  assert.equal(fake.sent.filter((line) => line === 'poweroff\n').length, 1);
  assert.deepEqual(fake.run.ended(0, ''), { exitCode: 7 });
  fake.run.detach();
});

test('a guest needs a command', () => {
  assert.throws(() => new GuestRun({ exec: [], onConsole: () => {} } as unknown as BootOptions), RangeError);
});

test('a shell is started with its terminal, in each boot again; its exit code is the result', () => {
  const shell = { term: 'xterm', rows: 24, columns: 80, onOutput() {} };
  const fake = new Fake(undefined, { shell, load: ['one'] });
  fake.run.resize({ rows: 30, columns: 90 });
  fake.says('ready\n');
  assert.deepEqual(fake.sent, ['shell one xterm 30 90\n']);
  fake.run.resize({ rows: 31, columns: 91 });
  // The person rebooted the guest.
  fake.says('ready\n');
  fake.says('exit 3\n');
  fake.run.resize({ rows: 32, columns: 92 });
  assert.deepEqual(fake.sent.slice(1), ['size 31 91\n', 'shell one xterm 31 91\n', 'poweroff\n']);
  assert.deepEqual(fake.run.ended(0, ''), { exitCode: 3 });
  fake.run.detach();
});

test('a guest that its shell powers off has come to a good end, one that panics has not', () => {
  const shell = { term: 'xterm', rows: 24, columns: 80, onOutput() {} };
  const off = new Fake(undefined, { shell });
  assert.equal(off.failure().code, 'GONE');
  off.says('ready\n');
  assert.deepEqual(off.run.ended(0, ''), { exitCode: 0 });
  off.run.detach();
  const panicked = new Fake(undefined, { shell });
  panicked.says('ready\n');
  panicked.run.consoleLine('Kernel panic - not syncing: sysrq');
  panicked.says('ready\n');
  assert.equal(panicked.failure().code, 'PANIC');
  panicked.run.detach();
});

test('a guest has a command or a shell, and a kind of terminal that is a word', () => {
  const shell = { term: 'xterm', rows: 24, columns: 80, onOutput() {} };
  assert.throws(() => new Fake(undefined), RangeError);
  assert.throws(() => new Fake('true', { shell }), RangeError);
  assert.throws(() => new Fake(undefined, { shell: { ...shell, term: 'a b; reboot' } }), RangeError);
});
