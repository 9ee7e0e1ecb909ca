import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fstatSync, openSync, readdirSync, readFileSync, readlinkSync, readSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { bootGuest } from '../../src/vm/boot.js';
import { prepareGuest } from '../../src/vm/image.js';
import { progressTo } from '../../src/vm/progress.js';
import { findQemu } from '../../src/vm/qemu.js';
import { Qmp } from './qmp.js';

const THROUGH = 'QEMU was through before it was to be';
const MIB = 1024 * 1024;
/** MiB of a guest's memory: what `bootGuest` gives it. */
const MEMORY = 256;

/** What QEMU says of a migration. */
export interface Migration {
  readonly status?: string;
  readonly 'error-desc'?: string;
  /** Milliseconds, as the total. */
  readonly downtime?: number;
  readonly 'total-time'?: number;
  readonly ram?: {
    readonly 'dirty-sync-count': number;
    readonly transferred: number;
    /** Bytes of this pass. */
    readonly remaining: number;
  };
}

export interface MovingOptions {
  /** QEMU arguments, for the Nth QEMU. What is different must be different words, as many in each. */
  devices(n: number): readonly string[];
  readonly exec: string;
  readonly tools?: readonly string[];
  readonly modules?: readonly string[];
  readonly load?: readonly string[];
  readonly signal: AbortSignal;
}

/** A guest that begins in one QEMU and goes on in others. */
export class MovingGuest {
  /** All that it printed, wherever it was. */
  readonly lines: string[] = [];
  /** What the QEMUs had to say. */
  said = '';
  readonly #options: MovingOptions;
  readonly #heard = new Set<() => void>();
  readonly #booted = new AbortController();
  #isUp: () => void = () => {};
  readonly #up = new Promise<void>((resolve) => {
    this.#isUp = resolve;
  });
  #end: Promise<unknown> = Promise.resolve();
  #failure: Error | undefined;
  #command: readonly string[] = [];
  #pid = 0;
  #monitor: Qmp | undefined;
  #n = 0;
  /** The QEMUs after the first. */
  readonly #others = new Set<ChildProcess>();

  private constructor(options: MovingOptions) {
    this.#options = options;
  }

  static async boot(options: MovingOptions): Promise<MovingGuest> {
    const guest = new MovingGuest(options);
    await guest.#boot();
    return guest;
  }

  /** What is of use to whoever wants to know why it does not go on. */
  get state(): string {
    const said = this.said === '' ? 'nothing' : this.said;
    return `The guest's last lines: ${this.lines.slice(-3).join(' | ')}; QEMU ${this.#n} is its last; they said: ${said}. ${this.#failure?.message ?? ''}`;
  }

  /** The monitor of the QEMU that it is in. */
  get monitor(): Qmp {
    return this.#monitor!;
  }

  async #boot(): Promise<void> {
    const { devices, exec, tools = [], modules = [], load = [], signal } = this.#options;
    const progress = progressTo(process.stderr, { plain: true });
    const [qemu, image] = await Promise.all([
      findQemu({ progress }),
      prepareGuest({ progress, tools, modules }),
    ]);
    assert.doesNotMatch(image.buildLog, /warning|error/i);
    const running = bootGuest({
      qemu,
      image,
      exec,
      load,
      signal: AbortSignal.any([signal, this.#booted.signal]),
      silence: 3_600_000,
      devices: devices(0),
      onConsole: this.#hear,
      onSpawn: (pid) => {
        this.#pid = pid;
      },
      onReady: this.#isUp,
      onSaid: (text) => {
        // We end it when the guest has left it.
        if (!this.#booted.signal.aborted) this.said += text;
      },
    });
    this.#end = running.finished.then(
      ({ exitCode }) => this.#fail(new Error(`the guest's command ended with ${exitCode}`)),
      (error: Error) => this.#fail(error),
    );
  }

  /** Waits for a line that the guest prints, unless it has done so, after the first `after` lines. */
  async line(pattern: RegExp, after = 0): Promise<RegExpExecArray> {
    for (let from = after; ; from++) {
      while (from >= this.lines.length) await this.#more();
      const match = pattern.exec(this.lines[from]!);
      if (match !== null) return match;
    }
  }

  /** Waits until it has booted, and its QEMU takes orders. */
  async ready(): Promise<void> {
    if (this.#monitor !== undefined) return;
    await Promise.race([this.#up, this.#end]);
    if (this.#failure !== undefined) throw this.#failure;
    const words = readFileSync(`/proc/${this.#pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
    this.#command = words.map((word) => word.replace('socket,id=control,fd=3', 'null,id=control'));
    this.#monitor = await Qmp.connect(this.#qmpPath(0), this.#options.signal);
  }

  /** Moves it to another QEMU, which is told at this socket. */
  async move(path: string): Promise<Migration> {
    const arrival = await this.leave(path);
    const all = await arrival.completed();
    await arrival.go();
    return all;
  }

  /**
   * Moves it to another QEMU, where it stands still: `go` has it go on.
   *
   * @param path - the socket for it.
   * @param during - the first pass over all memory was done, and the next ones take their time until this is through.
   */
  async leave(path: string, during?: (from: Qmp) => Promise<void>): Promise<Arrival> {
    await this.ready();
    const uri = `unix:${path}`;
    const { devices, signal } = this.#options;
    const from = this.monitor;
    const [old, next] = [devices(this.#n), devices(this.#n + 1)];
    const other = new Map(old.map((word, i) => [word, next[i]!]));
    const [program, ...args] = this.#command.map((word) => other.get(word) ?? word);
    this.#command = [program!, ...args];
    const qemu = spawn(program!, [...args, '-S', '-incoming', uri], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#others.add(qemu);
    qemu.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.said += text;
    });
    createInterface({ input: qemu.stdout! }).on('line', this.#hear);
    const gone = new AbortController();
    const n = this.#n + 1;
    qemu.once('exit', (code, by) => {
      const how = `QEMU ${n} ended with ${by ?? code}`;
      // Ours to end, or the guest is lost with it.
      if (!this.#others.has(qemu)) return;
      this.said += `${how}\n`;
      const error = new Error(`${how}: ${this.said}`);
      gone.abort(error);
      this.#fail(error);
    });
    this.#n = n;
    const to = await Qmp.connect(this.#qmpPath(this.#n), AbortSignal.any([signal, gone.signal]));
    if (during === undefined) {
      await from.ask('migrate', { uri });
    } else {
      // All memory is copied once, quickly. After that it is too slow to end: what is written from then on is copied if it is heard of.
      await limit(from, 256, 0);
      await from.ask('migrate', { uri });
      // The second pass would be over before this is heard of, and QEMU with it, if nothing was written meanwhile.
      await until(from, ({ ram }) => (ram?.remaining ?? Number.POSITIVE_INFINITY) < 24 * MIB, signal, 5);
      await limit(from, 16, 0);
      await progressed(from, 2, signal);
      await unlessOver(from, during(from), signal);
    }
    await limit(from, 1024, 2000);
    const pids = [this.#pid, qemu.pid!] as const;
    const completed = async (): Promise<Migration> => {
      try {
        const all = await until(from, ({ status }) => status === 'completed', signal);
        await until(to, ({ status }) => status === 'completed', signal);
        return all;
      } catch (cause) {
        // How a QEMU ended may be heard of a little later than that it did.
        await delay(500);
        throw new Error(`${(cause as Error).message}. ${this.state}`, { cause });
      }
    };
    return new Arrival(from, pids, completed, async () => {
      await this.#abandon();
      this.#monitor = to;
      this.#pid = qemu.pid!;
      await to.ask('cont');
    });
  }

  /** Ends all QEMUs. */
  async close(): Promise<void> {
    this.#monitor?.close();
    this.#booted.abort();
    await this.#end;
    for (const qemu of this.#others) {
      this.#others.delete(qemu);
      await killed(qemu);
    }
  }

  /** Ends the QEMU that it was in. */
  async #abandon(): Promise<void> {
    this.#monitor!.close();
    this.#booted.abort();
    await this.#end;
    this.#failure = undefined;
    for (const qemu of this.#others) {
      if (qemu.pid !== this.#pid) continue;
      this.#others.delete(qemu);
      await killed(qemu);
    }
  }

  #qmpPath(n: number): string {
    const words = this.#options.devices(n);
    return /^unix:(.*),server=on/.exec(words[words.indexOf('-qmp') + 1]!)![1]!;
  }

  readonly #hear = (line: string): void => {
    this.lines.push(line.trim());
    for (const heard of this.#heard) heard();
  };

  #fail(error: Error): void {
    this.#failure = error;
    for (const heard of this.#heard) heard();
  }

  async #more(): Promise<void> {
    const { signal } = this.#options;
    signal.throwIfAborted();
    if (this.#failure !== undefined) throw this.#failure;
    let wake!: () => void;
    const woken = new Promise<void>((resolve) => {
      wake = resolve;
    });
    this.#heard.add(wake);
    signal.addEventListener('abort', wake);
    await woken;
    this.#heard.delete(wake);
    signal.removeEventListener('abort', wake);
  }
}

/** Both QEMUs, while the guest goes from one to the other. */
export class Arrival {
  readonly from: Qmp;
  readonly #pids: readonly [number, number];
  /** Waits until all is there. @returns what the old QEMU says of it. */
  readonly completed: () => Promise<Migration>;
  /** The guest goes on; the QEMU that it was in ends. */
  readonly go: () => Promise<void>;

  constructor(
    from: Qmp,
    pids: readonly [number, number],
    completed: () => Promise<Migration>,
    go: () => Promise<void>,
  ) {
    this.from = from;
    this.#pids = pids;
    this.completed = completed;
    this.go = go;
  }

  /** The pages of 4096 bytes that are not the same at both ends, or the first of many. */
  differences(): string[] {
    const [left, right] = this.#pids.map((pid) => memoryOf(pid, MEMORY * MIB)) as [number, number];
    try {
      return differences(left, right, MEMORY * MIB);
    } finally {
      closeSync(left);
      closeSync(right);
    }
  }
}

/** Waits until QEMU has looked for dirty pages so often: the first time before the first pass. @returns how often it has. */
export async function progressed(qmp: Qmp, passes: number, signal: AbortSignal): Promise<number> {
  const all = await until(
    qmp,
    ({ status, ram }) => status === 'completed' || (ram?.['dirty-sync-count'] ?? 0) >= passes,
    signal,
  );
  assert.notEqual(all.status, 'completed', THROUGH);
  return all.ram!['dirty-sync-count'];
}

/** Waits for what is done while QEMU copies: a guest that stands still, because it is through, would never do it. */
async function unlessOver(qmp: Qmp, work: Promise<void>, signal: AbortSignal): Promise<void> {
  const enough = new AbortController();
  const either = AbortSignal.any([signal, enough.signal]);
  const over = until(qmp, ({ status }) => status === 'completed', either, 500).then(() =>
    assert.fail(THROUGH),
  );
  over.catch(() => {});
  work.catch(() => {});
  await Promise.race([work, over]).finally(() => enough.abort());
}

async function until(
  qmp: Qmp,
  done: (all: Migration) => boolean,
  signal: AbortSignal,
  every = 20,
): Promise<Migration> {
  for (;;) {
    const all = (await qmp.ask('query-migrate')) as Migration;
    assert.notEqual(all.status, 'failed', all['error-desc']);
    if (done(all)) return all;
    await delay(every, undefined, { signal });
  }
}

/** @param bandwidth - MiB/s. @param downtime - milliseconds; with 0 it ends only when nothing is left. */
async function limit(qmp: Qmp, bandwidth: number, downtime: number): Promise<void> {
  await qmp.ask('migrate-set-parameters', { 'max-bandwidth': bandwidth * MIB, 'downtime-limit': downtime });
}

async function killed(qemu: ChildProcess): Promise<void> {
  if (qemu.exitCode !== null || qemu.signalCode !== null) return;
  qemu.kill('SIGKILL');
  await once(qemu, 'exit');
}

/** The memory of a QEMU's guest, as a file of this size. */
function memoryOf(pid: number, size: number): number {
  for (const name of readdirSync(`/proc/${pid}/fd`)) {
    const file = `/proc/${pid}/fd/${name}`;
    if (!readlinkSync(file).startsWith('/memfd:')) continue;
    const fd = openSync(file, 'r');
    if (fstatSync(fd).size === size) return fd;
    closeSync(fd);
  }
  throw new Error(`process ${pid} has no memory of ${size} bytes`);
}

/** The pages of 4096 bytes in which two files differ. */
function differences(a: number, b: number, size: number): string[] {
  const [left, right] = [Buffer.alloc(MIB), Buffer.alloc(MIB)];
  const pages: string[] = [];
  for (let at = 0; at < size; at += MIB) {
    readSync(a, left, 0, MIB, at);
    readSync(b, right, 0, MIB, at);
    if (left.equals(right)) continue;
    for (let page = 0; page < MIB; page += 4096) {
      if (left.compare(right, page, page + 4096, page, page + 4096) !== 0) {
        pages.push(`0x${(at + page).toString(16)}`);
      }
    }
  }
  return pages.length > 8 ? [...pages.slice(0, 8), `and ${pages.length - 8} more`] : pages;
}
