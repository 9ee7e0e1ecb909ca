import type { Duplex } from 'node:stream';
import type { GuestShell } from './boot-options.js';

/** Characters of an unfinished line that are kept. */
const LONGEST = 4096;

/** The guest's console when a person sits at it: bytes both ways, over a socket pair that QEMU has as its first serial port. */
export class ShellConsole {
  /** QEMU's own standard output, on which it has nothing to say. */
  readonly writeEnd = 'ignore';
  readonly #shell: GuestShell;
  readonly #line: (line: string) => void;
  #socket: Duplex | undefined;
  #partial = '';
  #finish: () => void = () => {};
  /** Settles at the end of the console, when all of it has been delivered. */
  readonly ended: Promise<void> = new Promise((resolve) => {
    this.#finish = resolve;
  });

  /** @param line - hears of each line too. */
  constructor(shell: GuestShell, line: (line: string) => void) {
    this.#shell = shell;
    this.#line = line;
  }

  /** @param socket - `undefined` when QEMU did not start. */
  attach(socket: Duplex | undefined): void {
    this.#socket = socket;
    if (socket === undefined) this.#finish();
    socket
      ?.on('data', (bytes: Buffer) => this.#take(bytes))
      // Its end is heard of through 'close'.
      .on('error', () => {})
      .on('close', this.#finish);
  }

  /** Sends keys. @returns whether more may follow at once; if not, `onRoom` is called when they may. */
  type(keys: Uint8Array, onRoom: () => void): boolean {
    const socket = this.#socket;
    if (socket === undefined || socket.destroyed || socket.write(keys)) return true;
    socket.once('drain', onRoom);
    return false;
  }

  /** What QEMU has is QEMU's. */
  handOver(): void {}

  /** All is delivered as it comes. */
  drain(): void {}

  #take(bytes: Buffer): void {
    this.#shell.onOutput(bytes);
    const lines = (this.#partial + bytes.toString('utf8')).split('\n');
    this.#partial = lines.pop()!.slice(-LONGEST);
    for (const line of lines) this.#line(line.replace(/\r+$/, ''));
  }
}
