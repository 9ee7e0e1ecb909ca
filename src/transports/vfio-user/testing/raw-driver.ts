import type { GuestAddress } from '../../../memory/address.js';
import { GuestAllocator, type GuestBuffer } from '../../../memory/guest-allocator.js';
import { GuestMemory } from '../../../memory/guest-memory.js';
import { MappedView } from '../../../memory/mapped-view.js';
import type { MemoryView } from '../../../memory/memory-view.js';
import { VIRTIO_F_VERSION_1 } from '../../../virtio/features.js';
import { SplitDriverQueue } from '../../../virtqueue/split/driver.js';
import * as pci from '../../pci/pci-registers.js';
import * as virtio from '../../pci/virtio-pci.js';
import { encodeDmaMap } from '../codec.js';
import * as wire from '../messages.js';
import type { RawClient } from './raw-client.js';

/** Size of the ring that it sets up, and of its memory in bytes. */
const QUEUE_SIZE = 8;
export const MEMORY_SIZE = 0x1_0000;
/** Where the memory is, for the device. */
export const MEMORY_START = 0x8_0000 as GuestAddress;

/** A driver of queue 0 behind a `RawClient`: the registers are where the server is known to have them. */
export class RawDriver {
  readonly client: RawClient;
  readonly queue: SplitDriverQueue<{ address: GuestAddress; length: number }>;
  /** Its memory's descriptor, if it is shared: for who maps it again. */
  readonly shared: { readonly fd: number } | undefined;
  readonly #memory = new GuestMemory();
  readonly #allocator = new GuestAllocator(MEMORY_START, MEMORY_SIZE);

  /**
   * Maps its memory.
   *
   * @param shared - whether with a descriptor, or for the device to reach by messages.
   * @param keepsFd - whether that is left open.
   */
  constructor(client: RawClient, shared: boolean, keepsFd = false) {
    this.client = client;
    let view: MemoryView = new MappedView(client.memory.buffer, MEMORY_START, MEMORY_SIZE);
    const fds: number[] = [];
    if (shared) {
      const { fd, mapping } = client.os.createMemory('guest', MEMORY_SIZE);
      fds.push(fd);
      view = mapping.view;
    }
    this.#memory.add({ start: MEMORY_START, view });
    this.queue = new SplitDriverQueue({
      memory: this.#memory,
      allocator: this.#allocator,
      size: QUEUE_SIZE,
      base: 0,
      eventIdx: false,
      indirect: false,
    });
    const flags = wire.VFIO_DMA_MAP_FLAG_READ | wire.VFIO_DMA_MAP_FLAG_WRITE;
    const map = encodeDmaMap({ flags, offset: 0, address: MEMORY_START, size: MEMORY_SIZE });
    if (client.ask(wire.VFIO_USER_DMA_MAP, map, fds).error !== 0) throw new Error('DMA_MAP failed');
    if (keepsFd) this.shared = { fd: fds[0]! };
    else for (const fd of fds) client.os.closeFd(fd);
  }

  /** Up to DRIVER_OK, with queue 0. */
  start(): void {
    this.command(pci.PCI_COMMAND_MEMORY | pci.PCI_COMMAND_MASTER);
    this.status(0);
    this.status(virtio.VIRTIO_CONFIG_S_ACKNOWLEDGE | virtio.VIRTIO_CONFIG_S_DRIVER);
    this.common(virtio.COMMON.driver_feature_select, 4, 1);
    this.common(virtio.COMMON.driver_feature, 4, Number(VIRTIO_F_VERSION_1 >> 32n));
    this.status(0xb);
    this.common(virtio.COMMON.queue_size, 2, QUEUE_SIZE);
    this.common(virtio.COMMON.queue_desc, 8, this.queue.descriptorArea);
    this.common(virtio.COMMON.queue_driver, 8, this.queue.driverArea);
    this.common(virtio.COMMON.queue_device, 8, this.queue.deviceArea);
    this.common(virtio.COMMON.queue_enable, 2, 1);
    this.status(0xf);
  }

  command(value: number): void {
    this.client.write(wire.VFIO_PCI_CONFIG_REGION_INDEX, pci.PCI_COMMAND, number(2, value));
  }

  /** A posted write to the common configuration, as QEMU's are. */
  common(offset: number, size: number, value: number): void {
    this.client.write(0, offset, number(size, value), true);
  }

  status(value: number): void {
    this.common(virtio.COMMON.device_status, 1, value);
  }

  readStatus(): number {
    return this.client.read(0, virtio.COMMON.device_status, 1)[0]!;
  }

  /** Makes a request available, with room for `room` bytes of answer. @returns where both are. */
  add(request: Uint8Array, room: number): { readable: GuestBuffer; writable: GuestBuffer } {
    const readable = this.#allocator.alloc(request.length, 1);
    const writable = this.#allocator.alloc(room, 1);
    this.#memory.write(readable.address, request);
    this.queue.add([readable], [writable], writable);
    this.queue.publish();
    return { readable, writable };
  }

  /** Kicks queue 0. */
  kick(): void {
    this.client.write(0, NOTIFY, number(2, 0), true);
  }

  /** The next answer. */
  receive(): Uint8Array | undefined {
    const used = this.queue.reap();
    if (used === undefined) return undefined;
    const bytes = new Uint8Array(used.written);
    this.#memory.read(used.token.address, bytes);
    return bytes;
  }

  request(request: Uint8Array, room: number): Uint8Array | undefined {
    this.add(request, room);
    this.kick();
    return this.receive();
  }
}

/** The offset of queue 0's notification register in BAR 0. */
export const NOTIFY = 0x44;

/** A little-endian number of `size` bytes. */
export function number(size: number, value: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => Math.floor(value / 2 ** (8 * i)) % 256);
}
