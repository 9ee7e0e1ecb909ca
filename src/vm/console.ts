import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { InsertReader } from './inserts.js';

/** A line longer than this, in bytes, is delivered in pieces. */
const LONGEST = 64 * 1024;

/** Who else may write to a console's pipe. */
export interface Inserts {
  /** Where its name is: the folder's owner removes it. */
  readonly folder: string;
  /** Called with what was inserted, between the lines that the guest ended before and after that. */
  inserted(bytes: Buffer): void;
}

/**
 * The reading end of a pipe that QEMU writes the guest's console to. Unlike the pipes that Node makes for a child, it can be
 * emptied at any time without waiting for the event loop: what a guest printed before it touched a device can be shown before
 * what the device says. Where a device is in a process of its own, that writes what it says to the same pipe (`inserts.ts`).
 */
export class ConsolePipe {
  /** For the child to write to; `handOver` closes ours. */
  readonly writeEnd: number;
  readonly #readEnd: number;
  readonly #socket: Socket;
  readonly #inserts: InsertReader;
  #line: (line: string) => void = () => {};
  readonly #scratch: Buffer = Buffer.alloc(LONGEST);
  #partial: Buffer = Buffer.alloc(0);
  #handedOver = false;
  /** Settles when nobody writes any more, and all has been delivered. */
  readonly ended: Promise<void>;
  /** By which others find it, if any may. */
  readonly path: string;

  /** @param inserts - who else may write to it. */
  constructor(inserts?: Inserts) {
    this.#inserts = new InsertReader(
      (bytes) => this.#take(bytes),
      (bytes) => inserts?.inserted(bytes),
    );
    // Named pipes are the only ones that Node can open both ends of by descriptor. Without others the name lives for a moment.
    const folder = inserts?.folder ?? mkdtempSync(path.join(tmpdir(), 'virtio-misc-console-'));
    this.path = path.join(folder, 'console');
    try {
      execFileSync('mkfifo', ['-m', '600', this.path]);
      this.#readEnd = openSync(this.path, constants.O_RDONLY | constants.O_NONBLOCK);
      this.writeEnd = openSync(this.path, constants.O_WRONLY);
    } finally {
      if (inserts === undefined) rmSync(folder, { recursive: true });
    }
    this.#socket = new Socket({ fd: this.#readEnd, readable: true, writable: false });
    this.#socket.on('data', (bytes: Buffer) => this.#inserts.push(bytes));
    this.ended = new Promise((resolve) => {
      this.#socket.on('error', () => {});
      this.#socket.on('close', () => {
        this.#inserts.end();
        this.#deliverPartial();
        resolve();
      });
    });
  }

  /** What no guest can know, in front of what is inserted. */
  get mark(): Buffer {
    return this.#inserts.mark;
  }

  /** Says who gets the console's lines. */
  hear(line: (line: string) => void): void {
    this.#line = line;
  }

  /** Closes our copy of the writing end, so that the pipe ends with the last one who writes. */
  handOver(): void {
    if (this.#handedOver) return;
    this.#handedOver = true;
    closeSync(this.writeEnd);
  }

  /** Ends it, whoever writes: what is in it now is delivered. */
  close(): void {
    this.handOver();
    this.drain(true);
    this.#socket.destroy();
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
      this.#inserts.push(Buffer.from(this.#scratch.subarray(0, length)));
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
