import { type BufferQueue, type Driver, type DriverTransport, openDriver } from '../src/index.js';

// VIRTIO 1.3 §5.2: the block device. All little-endian, in sectors of 512 bytes.
const VIRTIO_ID_BLOCK = 2;
const VIRTIO_BLK_F_RO = 1n << 5n;
const VIRTIO_BLK_F_FLUSH = 1n << 9n;
const VIRTIO_BLK_T_IN = 0;
const VIRTIO_BLK_T_OUT = 1;
const VIRTIO_BLK_T_FLUSH = 4;
/** struct virtio_blk_req: le32 type, le32 reserved, le64 sector; then the data; then one byte of status. */
const HEADER_SIZE = 16;
const STATUS = ['OK', 'IOERR', 'UNSUPP'];

export const SECTOR = 512;

/** The driver of a virtio-blk device, over any transport: reads, writes and flushes a disk. */
export class BlkDriver {
  /** Sectors. */
  readonly capacity: number;
  readonly readOnly: boolean;
  readonly #driver: Driver;
  readonly #queue: BufferQueue;

  static async open(transport: DriverTransport): Promise<BlkDriver> {
    const features = VIRTIO_BLK_F_RO | VIRTIO_BLK_F_FLUSH;
    const driver = await openDriver(transport, { id: VIRTIO_ID_BLOCK, features, queues: 1 });
    const config = await driver.readConfig(0, 8);
    return new BlkDriver(
      driver,
      Number(new DataView(config.buffer, config.byteOffset).getBigUint64(0, true)),
    );
  }

  private constructor(driver: Driver, capacity: number) {
    this.#driver = driver;
    this.#queue = driver.queues[0]!;
    this.capacity = capacity;
    this.readOnly = (driver.features & VIRTIO_BLK_F_RO) !== 0n;
  }

  /** Reads `count` sectors from `sector` on. */
  read(sector: number, count: number): Promise<Uint8Array> {
    return this.#request(VIRTIO_BLK_T_IN, sector, new Uint8Array(), count * SECTOR);
  }

  /** Writes whole sectors from `sector` on. */
  async write(sector: number, data: Uint8Array): Promise<void> {
    if (data.length % SECTOR !== 0) throw new RangeError(`a write has whole sectors of ${SECTOR} bytes`);
    await this.#request(VIRTIO_BLK_T_OUT, sector, data, 0);
  }

  /** Resolves when all that was written is on the disk. */
  async flush(): Promise<void> {
    if ((this.#driver.features & VIRTIO_BLK_F_FLUSH) !== 0n) {
      await this.#request(VIRTIO_BLK_T_FLUSH, 0, new Uint8Array(), 0);
    }
  }

  close(): Promise<void> {
    return this.#driver.close();
  }

  async #request(type: number, sector: number, data: Uint8Array, room: number): Promise<Uint8Array> {
    const request = new Uint8Array(HEADER_SIZE + data.length);
    const view = new DataView(request.buffer);
    view.setUint32(0, type, true);
    view.setBigUint64(8, BigInt(sector), true);
    request.set(data, HEADER_SIZE);
    const answer = await this.#queue.request(request, room + 1);
    // The status is the last byte of the room, whatever the device says it wrote before.
    const status = answer[room];
    if (status !== 0)
      throw new Error(`the disk answers ${STATUS[status ?? -1] ?? 'nothing'} for sector ${sector}`);
    return answer.subarray(0, room);
  }
}
