import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { ReloadResult } from '../keeper/frames.js';
import { DESK_VARIABLE, type FromDeskProcess, type FromKeeperProcess, newDeskName } from './desk-frames.js';
import type { Logger } from './log.js';
import type { Numbered } from './metrics.js';

/** How long it may take to end, ms. */
const LAST_WORDS = 2000;

/** The process that counts, records and is asked for all others: this program with the same arguments. */
export class DeskChild {
  readonly #child: ChildProcess;
  readonly #gone: Promise<unknown>;
  /** To be said when the device can be reached. */
  readonly lines: readonly string[];
  #closed = false;

  private constructor(child: ChildProcess, lines: readonly string[], log: Logger) {
    this.#child = child;
    this.lines = lines;
    this.#gone = once(child, 'exit').then(([code, signal]) => {
      if (!this.#closed)
        log.error(
          `the process that counts, records and is asked ended with ${signal ?? code}: the device is served on, without these`,
        );
    });
  }

  /** @param reads - it has this process's standard input. @returns the exit code of one that said why it could not start. */
  static async start(reads: boolean, log: Logger): Promise<DeskChild | number> {
    const name = newDeskName();
    const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
      stdio: [reads ? 'inherit' : 'ignore', 'inherit', 'inherit', 'ipc'],
      env: { ...process.env, [DESK_VARIABLE]: name },
    });
    const ended = once(child, 'exit').then(([code]) => (code as number | null) ?? 1);
    const first = await Promise.race([once(child, 'message'), ended]);
    if (typeof first === 'number') return first === 0 ? 1 : first;
    const [{ lines }] = first as [FromDeskProcess];
    // Those that this process starts from now on find it there.
    process.env[DESK_VARIABLE] = name;
    return new DeskChild(child, lines, log);
  }

  /** A front-end left. */
  left({ connection, socket }: Numbered): void {
    this.#tell({ gone: { connection, socket } });
  }

  /** The device's file was saved. */
  reloaded(result: ReloadResult): void {
    this.#tell({ reloaded: result });
  }

  #tell(what: FromKeeperProcess): void {
    if (this.#child.connected) this.#child.send(what, () => {});
  }

  /** Lets it write what it has, and end. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#child.connected) this.#child.disconnect();
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), LAST_WORDS);
    await this.#gone;
    clearTimeout(timer);
  }
}
