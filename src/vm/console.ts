import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';

/** A line longer than this, in bytes, is delivered in pieces. */
const LONGEST = 64 * 1024;

/**
 * The reading end of a pipe that QEMU writes the guest's console to. Unlike the pipes that Node makes for a child, it can be
 * emptied at any time without waiting for the event loop: what a guest printed before it touched a device can be shown before
 * what the device says.
 */
export class ConsolePipe {
  /** For the child to write to; `handOver` closes ours. */
  readonly writeEnd: number;
  readonly #readEnd: number;
  readonly #socket: Socket;
  readonly #line: (line: string) => void;
  readonly #scratch: Buffer = Buffer.alloc(LONGEST);
  #partial: Buffer = Buffer.alloc(0);
  /** Settles at the end of the console, when all lines have been delivered. */
  readonly ended: Promise<void>;

  constructor(line: (line: string) => void) {
    this.#line = line;
    // Named pipes are the only ones that Node can open both ends of by descriptor. The name lives for a moment.
    const folder = mkdtempSync(path.join(tmpdir(), 'virtio-misc-console-'));
    try {
      const fifo = path.join(folder, 'console');
      execFileSync('mkfifo', ['-m', '600', fifo]);
      this.#readEnd = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
      this.writeEnd = openSync(fifo, constants.O_WRONLY);
    } finally {
      rmSync(folder, { recursive: true });
    }
    this.#socket = new Socket({ fd: this.#readEnd, readable: true, writable: false });
    this.#socket.on('data', (bytes: Buffer) => this.#take(bytes));
    this.ended = new Promise((resolve) => {
      this.#socket.on('error', () => {});
      this.#socket.on('close', () => {
        this.#deliverPartial();
        resolve();
      });
    });
  }

  /** Closes our copy of the writing end, so that the pipe ends with the child. */
  handOver(): void {
    closeSync(this.writeEnd);
  }

  /** Delivers what is in the pipe by now; a line that has no end yet only when told to. */
  drain(unfinished = false): void {
    while (!this.#socket.destroyed) {
      let length: number;
      try {
        length = readSync(this.#readEnd, this.#scratch);
      } catch {
        break; // EAGAIN: empty
      }
      if (length === 0) break;
      this.#take(Buffer.from(this.#scratch.subarray(0, length)));
    }
    if (unfinished) this.#deliverPartial();
  }

  #take(bytes: Buffer): void {
    this.#partial = this.#partial.length > 0 ? Buffer.concat([this.#partial, bytes]) : bytes;
    // Delivering a line may drain, and so take more, and deliver that too: nothing is kept in a local variable meanwhile.
    for (let end = this.#partial.indexOf(10); end >= 0; end = this.#partial.indexOf(10)) {
      const line = this.#partial.subarray(0, end);
      this.#partial = this.#partial.subarray(end + 1);
      this.#deliver(line);
    }
    if (this.#partial.length >= LONGEST) this.#deliverPartial();
  }

  #deliverPartial(): void {
    const piece = this.#partial;
    if (piece.length === 0) return;
    this.#partial = Buffer.alloc(0);
    this.#deliver(piece);
  }

  #deliver(line: Buffer): void {
    // A serial console ends its lines with CR LF.
    this.#line(line.toString('utf8').replace(/\r+$/, ''));
  }
}
