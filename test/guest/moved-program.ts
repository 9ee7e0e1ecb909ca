import assert from 'node:assert/strict';
import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { crc32 } from 'node:zlib';
import type { MovingGuest } from './moving-guest.js';

const MIB = 1024 * 1024;

export const MOVED_PROGRAM: string = fileURLToPath(new URL('../../../test/guest/moved.c', import.meta.url));
/** As moved.c has them. */
export const FILL: number = 8 * MIB;
/** Bytes of a request. */
export const FILL_PIECE: number = 16 * 1024;
export const HELD: number = 2 * MIB;
export const HELD_PIECES = 32;
const CONTROL = 4 * MIB;

/** Has moved.c in a guest do things, by way of its control disk. */
export class MovedProgram {
  readonly #orders: number;
  #number = 0;
  #last = 'nothing was ordered';

  /** @param control - the file of the control disk, which is made. */
  constructor(control: string) {
    writeFileSync(control, Buffer.alloc(CONTROL));
    this.#orders = openSync(control, 'r+');
  }

  /** What it was told last. */
  get last(): string {
    return this.#last;
  }

  /** Has the guest do something. @returns what it says when it is done. */
  async order(guest: MovingGuest, verb: string): Promise<string> {
    const number = ++this.#number;
    this.#last = `order ${number} is to ${verb}`;
    const line = Buffer.alloc(512);
    line.write(`${number} ${verb}\n`);
    const seen = guest.lines.length;
    writeSync(this.#orders, line, 0, 512, 0);
    return (await guest.line(new RegExp(`^moved ${number}(.*)\\.$`), seen))[1]!;
  }

  /**
   * Has it look at what it read.
   *
   * @param contents - of the disks: the first part, and the second.
   * @returns how many rounds of blocks it has written and read.
   */
  async check(guest: MovingGuest, contents: readonly Buffer[]): Promise<number> {
    const said = await this.order(guest, 'check');
    const sums = contents.flatMap((all) => [crc32(all.subarray(0, FILL)), crc32(all.subarray(FILL))]);
    const wanted = sums.map((sum) => sum.toString(16).padStart(8, '0')).join(' ');
    assert.ok(said.startsWith(` ${wanted} `), `the guest has ${said}, and not ${wanted}`);
    const [, rounds, wrong] = / rounds (\d+) wrong (\d+)$/.exec(said)!;
    assert.equal(wrong, '0');
    return Number(rounds);
  }

  close(): void {
    closeSync(this.#orders);
  }
}
