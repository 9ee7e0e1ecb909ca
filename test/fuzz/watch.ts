import { type ChildProcess, fork } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { Finding, Order, Report, Usage } from './report.js';

/** How long one run may take of the processor, and how long it may sleep, in ms. */
const HANG = 2000;
const LOOK_EVERY = 250;
/** A clock tick of /proc, in ms. */
const TICK = 10;

export interface Watched {
  readonly steps: number;
  readonly runs: number;
  readonly finding?: Finding;
  readonly first?: Usage | undefined;
  readonly last?: Usage | undefined;
}

/** Runs a target in a process of its own, and sees what that can't say itself: that it died, or hangs. */
export class Watch {
  readonly #child: ChildProcess;
  readonly #folder = mkdtempSync(join(tmpdir(), 'fuzz-'));
  readonly #place = join(this.#folder, 'place');
  readonly #progress: () => void;
  #report: Report = { steps: 0, runs: 0 };
  #first: Usage | undefined;
  #last: Usage | undefined;
  #words = '';
  /** Time of the processor when it last said something, and how often it was found asleep since. */
  #spent = 0;
  #asleep = 0;
  #suspect: Report | undefined;
  #hangs: string | undefined;
  #stopped = false;
  readonly done: Promise<Watched>;

  /** @param progress - called when it said something. */
  constructor(order: Omit<Order, 'place'>, progress: () => void) {
    this.#progress = progress;
    writeFileSync(this.#place, new Uint8Array(8));
    const argument = JSON.stringify({ ...order, place: this.#place } satisfies Order);
    this.#child = fork(fileURLToPath(new URL('child.js', import.meta.url)), [argument], {
      execArgv: ['--expose-gc'],
      stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'ipc'],
    });
    const hear = (text: string): void => {
      this.#words = (this.#words + text).slice(-4000);
    };
    this.#child.stdout!.setEncoding('utf8').on('data', hear);
    this.#child.stderr!.setEncoding('utf8').on('data', hear);
    createInterface({ input: this.#child.stdio[3] as Readable }).on('line', (line) =>
      this.#said(JSON.parse(line) as Report),
    );
    const looks = setInterval(() => this.#look(), LOOK_EVERY);
    this.done = new Promise((resolve) => {
      this.#child.once('close', (code, signal) => {
        clearInterval(looks);
        resolve(this.#outcome(code, signal));
        rmSync(this.#folder, { recursive: true });
      });
    });
  }

  get report(): Report {
    return this.#report;
  }

  get usage(): Usage | undefined {
    return this.#last;
  }

  /** Ends it now. */
  stop(): void {
    this.#stopped = true;
    this.#child.kill('SIGKILL');
  }

  #said(report: Report): void {
    this.#report = report;
    this.#first ??= report.memory;
    this.#last = report.memory ?? this.#last;
    this.#spent = this.#processor()?.spent ?? this.#spent;
    this.#asleep = 0;
    this.#progress();
  }

  #processor(): { spent: number; asleep: boolean } | undefined {
    try {
      const fields = readFileSync(`/proc/${this.#child.pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
      return { spent: TICK * (Number(fields[11]) + Number(fields[12])), asleep: fields[0] === 'S' };
    } catch {
      return undefined;
    }
  }

  #look(): void {
    const now = this.#processor();
    // It says nothing before its first run, and nothing while the target's modules are loaded.
    if (now === undefined || this.#hangs !== undefined || this.#report.runs === 0) return;
    this.#asleep = now.asleep ? this.#asleep + 1 : 0;
    const spent = now.spent - this.#spent;
    if (spent <= HANG && this.#asleep * LOOK_EVERY <= HANG) return;
    // What it said may wait to be read, where this process had no processor for a while: that comes before the next look.
    if (this.#suspect !== this.#report) {
      this.#suspect = this.#report;
      return;
    }
    this.#hangs =
      spent > HANG
        ? `it hangs: one run has taken ${spent} ms of the processor`
        : `it hangs: one run sleeps for over ${HANG} ms`;
    this.#child.kill('SIGKILL');
  }

  #outcome(code: number | null, signal: string | null): Watched {
    const { steps, runs, end } = this.#report;
    const so = { steps, runs, first: this.#first, last: this.#last };
    if (end === 'done' || (this.#stopped && end === undefined)) return so;
    if (end !== undefined) return { ...so, finding: end };
    const [run] = new Float64Array(new Uint8Array(readFileSync(this.#place)).buffer);
    const died = `it died: ${signal ?? `exit code ${code}`}${this.#words === '' ? '' : `\n${this.#words.trimEnd()}`}`;
    return { ...so, finding: { what: this.#hangs ?? died, path: `${run}` } };
  }
}
