import type { DriverTransport, GuestAddress, MemoryView } from '../../src/index.js';
import { VIRTIO_F_VERSION_1 } from '../../src/virtio/features.js';
import { VIRTQ_AVAIL, VIRTQ_DESC, VIRTQ_DESC_SIZE, VIRTQ_USED } from '../../src/virtqueue/split/layout.js';

const SIZE = 16;
const DESCRIPTORS = 0x1000;
const AVAILABLE = 0x2000;
const USED = 0x3000;
const BUFFERS = 0x1_0000;
/** Bytes of a descriptor's buffer. */
const ROOM = 0x2_0000;

/** A descriptor as it is written. */
export interface RawDescriptor {
  /** Where the bytes are written, unless an address is told. */
  readonly bytes?: Uint8Array;
  readonly length?: number;
  readonly address?: number;
  readonly flags: number;
  readonly next?: number;
}

/** A driver that writes a split ring by hand, right or wrong. */
export class RawDriver {
  readonly #transport: DriverTransport;
  readonly #view: MemoryView;
  readonly #start: number;
  #kick: (next: number) => void = () => {};
  #available = 0;

  private constructor(transport: DriverTransport) {
    this.#transport = transport;
    const { start, view } = transport.memory.regions[0]!;
    this.#start = start;
    this.#view = view;
  }

  static async open(transport: DriverTransport): Promise<RawDriver> {
    const driver = new RawDriver(transport);
    await transport.reset();
    await transport.offeredFeatures();
    await transport.acceptFeatures(VIRTIO_F_VERSION_1);
    const at = (offset: number): GuestAddress => (driver.#start + offset) as GuestAddress;
    const ring = {
      size: SIZE,
      descriptorArea: at(DESCRIPTORS),
      driverArea: at(AVAILABLE),
      deviceArea: at(USED),
    };
    driver.#kick = await transport.startQueue(0, ring, 0, () => {});
    await transport.start();
    return driver;
  }

  /** Makes a chain available that begins with the descriptor `head`, and kicks. */
  send(head: number, descriptors: readonly RawDescriptor[]): void {
    descriptors.forEach(({ bytes, length = bytes?.length ?? 0, address, flags, next = 0 }, i) => {
      const index = head + i;
      const buffer = BUFFERS + index * ROOM;
      if (bytes !== undefined) this.#view.copyIn(buffer, bytes, 0, bytes.length);
      const at = DESCRIPTORS + index * VIRTQ_DESC_SIZE;
      const where = address ?? this.#start + buffer;
      this.#view.write32(at + VIRTQ_DESC.addr, (where % 2 ** 32) | 0);
      this.#view.write32(at + VIRTQ_DESC.addr + 4, Math.floor(where / 2 ** 32));
      this.#view.write32(at + VIRTQ_DESC.len, length);
      this.#view.write16(at + VIRTQ_DESC.flags, flags);
      this.#view.write16(at + VIRTQ_DESC.next, next);
    });
    this.#view.write16(AVAILABLE + VIRTQ_AVAIL.ring + 2 * (this.#available % SIZE), head);
    this.#available = (this.#available + 1) & 0xffff;
    this.#view.store16(AVAILABLE + VIRTQ_AVAIL.idx, this.#available);
    this.#kick(this.#available);
  }

  /** How many chains came back. */
  get used(): number {
    return this.#view.read16(USED + VIRTQ_USED.idx);
  }

  close(): void {
    this.#transport.close();
  }
}
