import { setImmediate as turn } from 'node:timers/promises';
import type { GuestAddress } from '../../src/memory/address.js';
import { GuestAllocator, type GuestBuffer } from '../../src/memory/guest-allocator.js';
import type { DriverTransport } from '../../src/virtio/driver-transport.js';
import { VIRTIO_F_VERSION_1 } from '../../src/virtio/features.js';
import {
  descriptorAreaSize,
  deviceAreaSize,
  driverAreaSize,
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
  VIRTQ_DESC_SIZE,
} from '../../src/virtqueue/split/layout.js';
import { RingWriter } from '../../src/virtqueue/testing/ring-writer.js';

const SIZE = 8;
/** virtio-test's request and response. */
const REQUEST_BYTES = 48;
const RESPONSE_BYTES = 12;

/**
 * virtio-test's queue as its driver sees it in memory, with nothing that follows rules for the test: it says when the
 * device is told of a request, and which of the ring's two ways of suppressing interrupts is used.
 */
export class RawRing {
  readonly writer: RingWriter;
  /** Interrupts so far. */
  interrupts = 0;
  readonly #transport: DriverTransport;
  readonly #request: GuestBuffer;
  readonly #response: GuestBuffer;
  readonly #table: GuestBuffer;
  readonly #ring: { descriptorArea: GuestAddress; driverArea: GuestAddress; deviceArea: GuestAddress };
  #kick: (nextPlace: number) => void = () => {};
  #failed = false;

  private constructor(transport: DriverTransport) {
    this.#transport = transport;
    const { start, view } = transport.memory.regions[0]!;
    const allocator = new GuestAllocator(start, view.length);
    const make = (length: number): GuestBuffer => {
      const buffer = allocator.alloc(length, 64);
      transport.memory.write(buffer.address, new Uint8Array(length));
      return buffer;
    };
    this.#ring = {
      descriptorArea: make(descriptorAreaSize(SIZE)).address,
      driverArea: make(driverAreaSize(SIZE)).address,
      deviceArea: make(deviceAreaSize(SIZE)).address,
    };
    this.writer = new RingWriter({ memory: transport.memory, size: SIZE, ...this.#ring });
    this.#request = make(REQUEST_BYTES);
    this.#response = make(RESPONSE_BYTES);
    this.#table = make(2 * VIRTQ_DESC_SIZE);
  }

  /** Takes the device into use with these features and VERSION_1. `prepare` writes to the ring before the device sees it. */
  static async start(
    transport: DriverTransport,
    features: bigint,
    prepare: (writer: RingWriter) => void = () => {},
  ): Promise<RawRing> {
    const raw = new RawRing(transport);
    transport.onFailure(() => {
      raw.#failed = true;
    });
    await transport.reset();
    await transport.acceptFeatures(features | VIRTIO_F_VERSION_1);
    prepare(raw.writer);
    raw.#kick = await transport.startQueue(0, { size: SIZE, ...raw.#ring }, 0, () => {
      raw.interrupts++;
    });
    await transport.start();
    // A start may interrupt, and may be taken for a kick: what comes of that is over after two answers.
    await raw.settle();
    raw.interrupts = 0;
    return raw;
  }

  /** Sends a request of two descriptors, in the table or behind an indirect one. */
  send({ indirect = false }: { indirect?: boolean } = {}): void {
    const chain = [
      { address: this.#request.address, length: REQUEST_BYTES, flags: VIRTQ_DESC_F_NEXT, next: 1 },
      { address: this.#response.address, length: RESPONSE_BYTES, flags: VIRTQ_DESC_F_WRITE },
    ];
    if (indirect) {
      this.writer.tableAt(this.#table.address, chain);
      const length = chain.length * VIRTQ_DESC_SIZE;
      this.writer.descriptor(0, { address: this.#table.address, length, flags: VIRTQ_DESC_F_INDIRECT });
    } else {
      chain.forEach((descriptor, index) => void this.writer.descriptor(index, descriptor));
    }
    this.writer.offer(0);
    this.#kick(this.writer.availIndex);
  }

  /** Sends one and waits until the device has used it. */
  async answered(): Promise<void> {
    const index = (this.writer.usedIndex + 1) & 0xffff;
    this.send();
    await this.until(() => this.writer.usedIndex === index);
    await this.settle();
  }

  /** Waits until the device has said that it can't go on. */
  async broken(): Promise<void> {
    await this.until(() => this.#failed);
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await turn();
  }

  /** What the device sent before its next answers has arrived after them. */
  async settle(): Promise<void> {
    for (let i = 0; i < 2; i++) {
      await this.#transport.readConfig(0, 4);
      await turn();
    }
  }
}
