import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';

/** Takes an offset and a length from each line, and answers 1 when there is a hole, 0 when there is none. Descriptor 3 is the file. */
const SCRIPT = `while read -r at length; do
  if fallocate --punch-hole --offset "$at" --length "$length" /dev/fd/3 </dev/null >/dev/null; then echo 1; else echo 0; fi
done`;

/**
 * Makes holes in a file, which read as zeros and take no room. Node can't; util-linux's `fallocate` can. A shell starts it, one at a time:
 * that costs a process for each hole, and this process, in whose event loop other devices wait, makes one in all.
 */
export class HolePunch {
  readonly #shell: ChildProcessByStdio<Writable, Readable, null>;
  readonly #ended: Promise<void>;
  /** Who waits for an answer, in the order of the lines. */
  readonly #waiting: ((done: boolean) => void)[] = [];
  #over = false;

  /** @param fd - the file's, open for writing. Until `close` has resolved, it must stay open. */
  constructor(fd: number) {
    const shell = spawn('/bin/sh', ['-c', SCRIPT], {
      stdio: ['pipe', 'pipe', 'ignore', fd],
    }) as ChildProcessByStdio<Writable, Readable, null>;
    this.#shell = shell;
    shell.stdout.setEncoding('latin1').on('data', (text: string) => {
      for (const answer of text.replaceAll('\n', '')) this.#waiting.shift()?.(answer === '1');
    });
    // Of its end the shell itself tells.
    shell.stdin.on('error', () => {});
    this.#ended = new Promise((resolve) => {
      const over = (): void => {
        this.#over = true;
        for (const answer of this.#waiting.splice(0)) answer(false);
        resolve();
      };
      shell.on('error', over);
      shell.on('close', over);
    });
  }

  /**
   * @param at - bytes from the start of the file, as `length`.
   * @returns whether there is a hole now: not all file systems have them.
   */
  punch(at: number, length: number): Promise<boolean> {
    if (this.#over) return Promise.resolve(false);
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.#shell.stdin.write(`${at} ${length}\n`);
    });
  }

  /** Resolves when nothing more happens to the file. */
  close(): Promise<void> {
    this.#shell.stdin.end();
    return this.#ended;
  }
}
