import { accessSync, constants, statSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { basename } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import {
  bytes,
  type Chain,
  defineDevice,
  le16,
  le32,
  le64,
  type Running,
  struct,
  u8,
  type VirtioDevice,
} from 'virtio-misc';
import { HolePunch } from './hole-punch.js';

// VIRTIO 1.3 §5.2.6.
const VIRTIO_BLK_T_IN = 0;
const VIRTIO_BLK_T_OUT = 1;
const VIRTIO_BLK_T_FLUSH = 4;
const VIRTIO_BLK_T_GET_ID = 8;
const VIRTIO_BLK_T_DISCARD = 11;
const VIRTIO_BLK_T_WRITE_ZEROES = 13;
const VIRTIO_BLK_S_OK = 0;
const VIRTIO_BLK_S_IOERR = 1;
const VIRTIO_BLK_S_UNSUPP = 2;
const UNMAP = 1;

const Config = struct({
  capacity: le64,
  size_max: le32,
  seg_max: le32,
  geometry: bytes(4),
  blk_size: le32,
  physical_block_exp: u8,
  alignment_offset: u8,
  min_io_size: le16,
  opt_io_size: le32,
  writeback: u8,
  unused0: u8,
  num_queues: le16,
  max_discard_sectors: le32,
  max_discard_seg: le32,
  discard_sector_alignment: le32,
  max_write_zeroes_sectors: le32,
  max_write_zeroes_seg: le32,
  write_zeroes_may_unmap: u8,
  unused1: bytes(3),
});
/** `virtio_blk_req` as far as the data. */
const Header = struct({ type: le32, reserved: le32, sector: le64 });
/** `virtio_blk_discard_write_zeroes`. */
const Range = struct({ sector: le64, num_sectors: le32, flags: le32 });

const SECTOR = 512;
const ID_SIZE = 20;
/** Queues that a driver finds. It takes one for each of its CPUs, as a rule, or fewer. */
const QUEUES = 64;
/**
 * Data segments of a request, however large the ring is. A chain has no more descriptors than its ring (§2.7.5.3.1), so that a header, a
 * status and these fit one of 128.
 */
const SEGMENTS = 126;
/** Bytes of a request that are in this process's memory at a time. */
const PIECE = 128 * 1024;
const ZEROS = new Uint8Array(PIECE);
/** Ranges of a discard or write-zeroes request, and sectors of a range. */
const MAX_RANGES = 16;
const MAX_RANGE_SECTORS = (1 << 30) / SECTOR;

/** What `blk` makes. */
export interface BlkOptions {
  /** The file that is the disk: as many sectors of 512 bytes as are whole in it. */
  readonly file: string | undefined;
  /** Keeps the guest from writing. A file that may not be written to is read-only anyhow. */
  readonly readOnly?: boolean;
  /** What Linux shows in /sys/block/vda/serial, up to 20 characters. The file's name unless told. */
  readonly serial?: string;
}

/** virtio-blk (VIRTIO 1.3 §5.2): a file as a disk. */
export function blk({ file, readOnly = false, serial }: BlkOptions): () => VirtioDevice {
  /** A driver's last writes may still be on their way when it is gone: the next one's come after them. */
  let ended: Promise<unknown> = Promise.resolve();
  return defineDevice(() => {
    if (file === undefined) throw new TypeError('say which file is the disk: DISK=disk.img');
    const about = statSync(file);
    if (!about.isFile()) throw new TypeError(`${file} is not a plain file`);
    const writable = !readOnly && mayWrite(file);
    const capacity = Math.floor(about.size / SECTOR);
    const id = Buffer.alloc(ID_SIZE);
    id.write(serial ?? basename(file), 'latin1');
    let disk: Disk | undefined;
    return {
      id: 2,
      name: 'virtio-blk',
      features: {
        SEG_MAX: 2,
        BLK_SIZE: 6,
        FLUSH: 9,
        TOPOLOGY: 10,
        MQ: 12,
        ...(writable ? { DISCARD: 13, WRITE_ZEROES: 14 } : { RO: 5 }),
      },
      config: {
        struct: Config,
        initial: {
          capacity,
          seg_max: SEGMENTS,
          num_queues: QUEUES,
          blk_size: SECTOR,
          // File systems have blocks of 4 KiB as a rule, and so holes of that size.
          physical_block_exp: 3,
          min_io_size: 8,
          ...(writable && {
            max_discard_sectors: MAX_RANGE_SECTORS,
            max_discard_seg: MAX_RANGES,
            discard_sector_alignment: 8,
            max_write_zeroes_sectors: MAX_RANGE_SECTORS,
            max_write_zeroes_seg: MAX_RANGES,
            write_zeroes_may_unmap: 1,
          }),
        },
      },
      queues: [
        {
          upTo: QUEUES,
          queues: [{ name: 'requestq', handle: (chain, device) => disk!.handle(chain, device) }],
        },
      ],
      activate() {
        const opened = ended.then(() => open(file, writable ? 'r+' : 'r'));
        disk = new Disk(opened, { capacity, writable, id });
      },
      reset() {
        ended = Promise.all([ended, disk?.close()]);
        disk = undefined;
      },
      close: () => void disk?.close(),
    };
  });
}

type Device = Pick<Running<typeof Config.fields>, 'has' | 'warn'>;

interface DiskOptions {
  /** Sectors. */
  readonly capacity: number;
  readonly writable: boolean;
  readonly id: Uint8Array;
}

/** The disk for one driver, until it is gone. */
class Disk {
  readonly #opened: Promise<FileHandle>;
  readonly #options: DiskOptions;
  /** Requests that are being carried out. */
  readonly #running = new Set<Promise<void>>();
  #holes: HolePunch | undefined;
  #closed = false;

  constructor(opened: Promise<FileHandle>, options: DiskOptions) {
    this.#opened = opened;
    this.#options = options;
    // Each request hears of it.
    opened.catch(() => {});
  }

  /** Resolves when nothing more happens to the file. After a reset that is soon: the chains of what goes on are stale. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled(this.#running);
    await this.#holes?.close();
    await this.#opened.then(
      (file) => file.close(),
      () => {},
    );
  }

  async handle(chain: Chain, device: Device): Promise<void> {
    const request = this.#answer(chain, device);
    this.#running.add(request);
    await request.finally(() => this.#running.delete(request));
  }

  async #answer(chain: Chain, device: Device): Promise<void> {
    if (chain.writable === 0) {
      device.warn('a request has no room for its status: not carried out');
      return;
    }
    const status = await this.#carryOut(chain, device);
    // The status is the last byte, and `used.len` counts from the first: what is between is written too.
    for (let left = chain.writable - 1 - chain.written; left > 0; left -= PIECE) {
      chain.write(ZEROS, 0, Math.min(left, PIECE));
      if (left > PIECE) await setImmediate();
    }
    chain.write(Uint8Array.of(status));
  }

  async #carryOut(chain: Chain, device: Device): Promise<number> {
    const header = new Uint8Array(Header.size);
    if (chain.read(header) < Header.size) return VIRTIO_BLK_S_IOERR;
    const { type, sector } = Header.decode(header);
    try {
      const file = await this.#opened;
      switch (type) {
        case VIRTIO_BLK_T_IN:
          return await this.#read(file, sector * SECTOR, chain);
        case VIRTIO_BLK_T_OUT:
          return await this.#write(file, sector * SECTOR, chain, device);
        case VIRTIO_BLK_T_FLUSH:
          await file.datasync();
          return VIRTIO_BLK_S_OK;
        case VIRTIO_BLK_T_GET_ID:
          chain.write(this.#options.id, 0, Math.min(ID_SIZE, chain.writable - 1));
          return VIRTIO_BLK_S_OK;
        case VIRTIO_BLK_T_DISCARD:
        case VIRTIO_BLK_T_WRITE_ZEROES:
          return await this.#clear(file, type, chain, device);
        default:
          return VIRTIO_BLK_S_UNSUPP;
      }
    } catch (error) {
      // The host's trouble with the file is the disk's; all else is not for the guest to hear.
      if (!(error instanceof Error && 'syscall' in error)) throw error;
      device.warn(`request of type ${type} for sector ${sector} failed: ${error.message}`);
      return VIRTIO_BLK_S_IOERR;
    }
  }

  /** @param at - bytes from the start of the disk, as in what follows. */
  async #read(file: FileHandle, at: number, chain: Chain): Promise<number> {
    const end = at + chain.writable - 1;
    if (!this.#has(at, end)) return VIRTIO_BLK_S_IOERR;
    const piece = new Uint8Array(Math.min(end - at, PIECE));
    for (let from = at; from < end; ) {
      const { bytesRead } = await file.read(piece, 0, Math.min(end - from, PIECE), from);
      // Somebody made the file shorter.
      if (bytesRead === 0) return VIRTIO_BLK_S_IOERR;
      chain.write(piece, 0, bytesRead);
      from += bytesRead;
    }
    return VIRTIO_BLK_S_OK;
  }

  async #write(file: FileHandle, at: number, chain: Chain, device: Device): Promise<number> {
    const end = at + chain.readable - chain.consumed;
    if (!this.#options.writable || !this.#has(at, end)) return VIRTIO_BLK_S_IOERR;
    const piece = new Uint8Array(Math.min(end - at, PIECE));
    for (let from = at; from < end; from += PIECE) await writeAll(file, piece, chain.read(piece), from);
    // A driver that can't flush takes what is answered for written (§5.2.6.2).
    if (!device.has('FLUSH')) await file.datasync();
    return VIRTIO_BLK_S_OK;
  }

  /** Discards ranges, or fills them with zeros. */
  async #clear(file: FileHandle, type: number, chain: Chain, device: Device): Promise<number> {
    const discard = type === VIRTIO_BLK_T_DISCARD;
    if (!this.#options.writable || !device.has(discard ? 'DISCARD' : 'WRITE_ZEROES'))
      return VIRTIO_BLK_S_UNSUPP;
    const length = chain.readable - chain.consumed;
    if (length === 0 || length % Range.size !== 0 || length > MAX_RANGES * Range.size)
      return VIRTIO_BLK_S_IOERR;
    const data = chain.readRest();
    const ranges = Array.from({ length: length / Range.size }, (_, i) =>
      Range.decode(data.subarray(i * Range.size)),
    );
    const allowed = discard ? 0 : UNMAP;
    if (ranges.some(({ flags }) => (flags & ~allowed) !== 0)) return VIRTIO_BLK_S_UNSUPP;
    const pieces = ranges.map(({ sector, num_sectors }): [at: number, end: number] => [
      sector * SECTOR,
      (sector + num_sectors) * SECTOR,
    ]);
    const fits = ranges.every(({ num_sectors }) => num_sectors <= MAX_RANGE_SECTORS);
    if (!fits || !pieces.every(([at, end]) => this.#has(at, end))) return VIRTIO_BLK_S_IOERR;
    for (const unmap of [true, false]) {
      const wanted = pieces.filter((_, i) => (discard || ranges[i]!.flags === UNMAP) === unmap);
      for (const [at, end] of merged(wanted)) {
        const gone = unmap && (await this.#punch(file, at, end));
        // Discarding is a wish, which a file system may not know; zeros are a promise.
        if (!gone && !discard) await this.#zero(file, at, end);
      }
    }
    if (!device.has('FLUSH')) await file.datasync();
    return VIRTIO_BLK_S_OK;
  }

  /** @returns whether it was done: not all file systems have holes. */
  async #punch(file: FileHandle, at: number, end: number): Promise<boolean> {
    if (this.#closed) throw new Error('the driver is gone');
    this.#holes ??= new HolePunch(file.fd);
    return this.#holes.punch(at, end - at);
  }

  async #zero(file: FileHandle, at: number, end: number): Promise<void> {
    for (let from = at; from < end; from += PIECE) {
      if (this.#closed) throw new Error('the driver is gone');
      await writeAll(file, ZEROS, Math.min(end - from, PIECE), from);
    }
  }

  /** Whether these are whole sectors of the disk. */
  #has(at: number, end: number): boolean {
    return (end - at) % SECTOR === 0 && end <= this.#options.capacity * SECTOR;
  }
}

async function writeAll(file: FileHandle, from: Uint8Array, length: number, at: number): Promise<void> {
  for (let done = 0; done < length; ) {
    done += (await file.write(from, done, length - done, at + done)).bytesWritten;
  }
}

/** Ranges, `end` excluded, in order; those that touch or overlap are one. */
function merged(ranges: readonly [at: number, end: number][]): [at: number, end: number][] {
  const all: [at: number, end: number][] = [];
  for (const [at, end] of ranges.toSorted(([one], [other]) => one - other)) {
    const last = all.at(-1);
    if (last !== undefined && at <= last[1]) last[1] = Math.max(last[1], end);
    else all.push([at, end]);
  }
  return all;
}

function mayWrite(file: string): boolean {
  try {
    accessSync(file, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

const device: () => VirtioDevice = blk({
  file: process.env.DISK,
  readOnly: process.env.READ_ONLY === '1',
});
export default device;
