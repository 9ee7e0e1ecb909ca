import { setImmediate } from 'node:timers/promises';
import { blk } from '../../examples/blk.js';
import { DeviceBench, le32, le64, struct, type VirtioDevice } from '../../src/index.js';

const Header = struct({ type: le32, reserved: le32, sector: le64 });
const Range = struct({ sector: le64, num_sectors: le32, flags: le32 });

/** VIRTIO 1.3 §5.2.6. */
export const IN = 0;
export const OUT = 1;
export const FLUSH = 4;
export const GET_ID = 8;
export const DISCARD = 11;
export const WRITE_ZEROES = 13;
export const OK = 0;
export const IOERR = 1;
export const UNSUPP = 2;

/** `virtio_blk_discard_write_zeroes`: sector, number of sectors, flags. */
export function ranges(...all: (readonly [sector: number, sectors: number, flags?: number])[]): Buffer {
  return Buffer.concat(
    all.map(([sector, num_sectors, flags = 0]) => Range.encode({ sector, num_sectors, flags })),
  );
}

export function header(type: number, sector: number): Uint8Array {
  return Header.encode({ type, sector });
}

/** What the disk answered: all that it wrote, the status at the end. */
export interface Answer {
  readonly status: number;
  readonly data: Uint8Array;
}

/** The blk example with a driver that says what a test wants said. */
export class BlkBench extends DeviceBench {
  static readonly #open = new Set<BlkBench>();

  constructor(make: () => VirtioDevice, features?: bigint) {
    super(make, features === undefined ? {} : { features });
    BlkBench.#open.add(this);
  }

  /** Resets all that were made, so that no file stays open. */
  static closeAll(): void {
    for (const bench of BlkBench.#open) bench.runner.close();
    BlkBench.#open.clear();
  }

  static of(file: string, options: { readOnly?: boolean; serial?: string } = {}): BlkBench {
    return new BlkBench(blk({ file, ...options }));
  }

  /** Sends one request, `room` being the device-writable bytes without the status. */
  async transfer(
    type: number,
    sector: number,
    { data = new Uint8Array(), room = 0 }: { data?: Uint8Array; room?: number } = {},
  ): Promise<Answer> {
    const answer = await this.raw(
      [header(type, sector), ...(data.length > 0 ? [data] : [])],
      room > 0 ? [room, 1] : [1],
    );
    return { status: answer.at(-1)!, data: answer.subarray(0, -1) };
  }

  /** Sends buffers as they are. @returns the bytes that the device says it wrote. */
  async raw(pieces: readonly Uint8Array[], room: readonly number[]): Promise<Uint8Array> {
    this.drivers[0]!.send(pieces, room);
    this.kick(0);
    return this.next();
  }

  /** The next answer, when it comes. */
  async next(): Promise<Uint8Array> {
    for (;;) {
      const answer = this.drivers[0]!.receive();
      if (answer !== undefined) return answer.bytes;
      await setImmediate();
    }
  }
}
