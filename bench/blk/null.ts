import {
  bytes,
  type Chain,
  defineDevice,
  le16,
  le32,
  le64,
  struct,
  u8,
  type VirtioDevice,
} from 'virtio-misc';

const SECTOR = 512;
/** struct virtio_blk_req as far as the data, and its status. */
const HEADER = 16;
const OK = 0;
const IN = 0;
const OUT = 1;
const UNSUPP = 2;

const Config = struct({
  capacity: le64,
  size_max: le32,
  seg_max: le32,
  geometry: bytes(4),
  blk_size: le32,
  topology: bytes(8),
  writeback: u8,
  unused0: u8,
  num_queues: le16,
});

const header = new DataView(new ArrayBuffer(HEADER));
const headerBytes = new Uint8Array(header.buffer);
const zeros = new Uint8Array(65_536);
const taken = new Uint8Array(65_536);
const status = new Uint8Array(1);

function handle(chain: Chain): void {
  status[0] = UNSUPP;
  if (chain.read(headerBytes) === HEADER) {
    const type = header.getUint32(0, true);
    if (type === IN) {
      // Zeros are copied, as from a disk in memory. qemu-storage-daemon leaves the buffer as it is unless read-zeroes is set, as it is here.
      for (let left = chain.writable - 1; left > 0; left -= zeros.length)
        chain.write(zeros, 0, Math.min(left, zeros.length));
      status[0] = OK;
    } else if (type === OUT) {
      while (chain.read(taken) === taken.length);
      status[0] = OK;
    }
  }
  chain.write(status);
}

/** A disk that holds nothing: what a request costs without one. */
const device: () => VirtioDevice = defineDevice({
  id: 2,
  name: 'virtio-blk-null',
  config: {
    struct: Config,
    initial: { capacity: (64 << 20) / SECTOR, seg_max: 126, blk_size: SECTOR, num_queues: 1 },
  },
  queues: [{ name: 'requestq', handle }],
});

export default device;
