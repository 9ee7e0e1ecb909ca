import type { GuestAddress } from '../../../memory/address.js';
import { GuestMemory } from '../../../memory/guest-memory.js';
import { MappedView } from '../../../memory/mapped-view.js';
import { MemoryError } from '../../../memory/memory-error.js';
import { type Abortable, abortable } from '../../../virtio/abortable.js';
import type { Clock } from '../../../virtio/clock.js';
import { type DriverTransport, TransportError } from '../../../virtio/driver-transport.js';
import { openPciDriver, type PciDriverOptions } from '../../pci/driver/driver.js';
import type { PciPlatform } from '../../pci/driver/pci-platform.js';
import type { Channel, EventPort, Os } from '../../ports.js';
import * as codec from '../codec.js';
import type { Message } from '../framing.js';
import * as wire from '../messages.js';
import { decodeVersion, encodeVersion } from '../version.js';
import { ERRNO, VfioUserError } from '../vfio-user-error.js';
import { Requester } from './requester.js';
import { ServerDoorbells } from './server-doorbells.js';

/** What a client needs of the process around it. */
export interface ClientEnvironment {
  readonly os: Os;
  readonly clock: Clock;
}

export interface VfioUserClientOptions extends PciDriverOptions, Abortable {
  /** Bytes of memory for rings and buffers, a multiple of 4096. 16 MiB unless told. */
  readonly memorySize?: number;
  /** Whether the device maps the memory, or reaches it by messages, which needs no descriptors and is slow. Default `true`. */
  readonly shareMemory?: boolean;
  /** Whether kicks are eventfds, where the server has them, instead of messages; they have no data then. Default `false`. */
  readonly doorbells?: boolean;
}

/** Where the memory is for the device: high, so that both halves of addresses count. */
const MEMORY_START = 0x1_0000_0000 as GuestAddress;

/**
 * Takes into use a virtio device that a vfio-user server has, ours or another's, as a VMM and its guest's kernel together would.
 *
 * @param channel - connected to the server; closed when this fails.
 * @throws TransportError; or the reason of the signal, when that is aborted first.
 */
export async function openVfioUser(
  channel: Channel,
  environment: ClientEnvironment,
  options: VfioUserClientOptions = {},
): Promise<DriverTransport> {
  const { memorySize = 16 << 20, shareMemory = true, doorbells = false, signal, ...driver } = options;
  const client = new VfioUserClient(channel, environment, memorySize, shareMemory, doorbells);
  const chosen = { notificationData: !doorbells, ...driver };
  const opened = client.connect().then(() => openPciDriver(client, client.memory, chosen));
  try {
    return await abortable(opened, signal);
  } catch (error) {
    client.close();
    throw error;
  }
}

/** A PCI function behind a vfio-user server, and the memory that it may reach. */
class VfioUserClient implements PciPlatform {
  readonly name = 'vfio-user';
  readonly memory: GuestMemory = new GuestMemory();
  readonly #os: Os;
  readonly #clock: Clock;
  readonly #requester: Requester;
  readonly #memorySize: number;
  /** The memory's descriptor, until it was sent. */
  #memoryFd: number | undefined;
  readonly #releaseMemory: () => void;
  readonly #events: EventPort[] = [];
  readonly #doorbells: ServerDoorbells | undefined;
  /** What ends each pause. */
  readonly #pauses = new Set<() => void>();
  /** Most descriptors that the server takes in one message. */
  #maxFds: number = wire.DEFAULT_MAX_MSG_FDS;
  #lostHandler: ((error: Error) => void) | undefined;
  #lost: Error | undefined;
  #closed = false;

  constructor(
    channel: Channel,
    { os, clock }: ClientEnvironment,
    memorySize: number,
    share: boolean,
    doorbells: boolean,
  ) {
    this.#os = os;
    this.#clock = clock;
    this.#memorySize = memorySize;
    if (share) {
      const { fd, mapping } = os.createMemory('virtio-misc', memorySize);
      this.#memoryFd = fd;
      this.#releaseMemory = () => mapping.release();
      this.memory.add({ start: MEMORY_START, view: mapping.view });
    } else {
      this.#releaseMemory = () => {};
      this.memory.add({ start: MEMORY_START, view: new MappedView(new ArrayBuffer(memorySize)) });
    }
    this.#requester = new Requester(channel, {
      clock,
      closeFd: (fd) => os.closeFd(fd),
      command: (message) => this.#serve(message),
      lost: (error) => this.#gone(error),
    });
    if (doorbells) this.#doorbells = new ServerDoorbells(os, this.#requester);
  }

  /** Negotiates, shows the memory, and resets the device. */
  async connect(): Promise<void> {
    const answer = await this.#requester.ask(wire.VFIO_USER_VERSION, [encodeVersion()]);
    const version = this.#understand('VERSION', () => decodeVersion(answer));
    if (version.major !== wire.VFIO_USER_MAJOR) {
      throw new TransportError(
        'REFUSED',
        `the vfio-user server speaks version ${version.major}.${version.minor}`,
      );
    }
    this.#maxFds = Math.max(1, version.maxMsgFds);
    await this.#mapMemory();
    const info = await this.#requester.ask(wire.VFIO_USER_DEVICE_GET_INFO, [codec.encodeInfo(0, 0, 0)]);
    const { flags } = this.#understand('DEVICE_GET_INFO', () =>
      codec.decodeInfo(info, wire.VFIO_USER_DEVICE_GET_INFO),
    );
    if ((flags & wire.VFIO_DEVICE_FLAGS_PCI) === 0) {
      throw new TransportError('REFUSED', 'the vfio-user server has no PCI device');
    }
    if ((flags & wire.VFIO_DEVICE_FLAGS_RESET) !== 0) await this.#requester.ask(wire.VFIO_USER_DEVICE_RESET);
  }

  readConfig(offset: number, length: number): Promise<Uint8Array> {
    return this.readBar(wire.VFIO_PCI_CONFIG_REGION_INDEX, offset, length);
  }

  writeConfig(offset: number, bytes: Uint8Array): Promise<void> {
    return this.writeBar(wire.VFIO_PCI_CONFIG_REGION_INDEX, offset, bytes);
  }

  async readBar(region: number, offset: number, count: number): Promise<Uint8Array> {
    const request = codec.encodeRegionAccess({ region, offset, count });
    const payload = await this.#requester.ask(wire.VFIO_USER_REGION_READ, [request]);
    this.#understand('REGION_READ', () => {
      const got = payload.byteLength - wire.REGION_ACCESS.size;
      if (got !== count) throw new VfioUserError('EINVAL', `${got} bytes of ${count}`);
    });
    return codec.rest(payload, wire.REGION_ACCESS.size);
  }

  async writeBar(region: number, offset: number, bytes: Uint8Array): Promise<void> {
    const request = codec.encodeRegionAccess({ region, offset, count: bytes.length });
    await this.#requester.ask(wire.VFIO_USER_REGION_WRITE, [request, bytes]);
  }

  postBar(region: number, offset: number, bytes: Uint8Array): void {
    if (this.#doorbells?.ring(region, offset, bytes.length) === true) return;
    const request = codec.encodeRegionAccess({ region, offset, count: bytes.length });
    this.#requester.post(wire.VFIO_USER_REGION_WRITE, [request, bytes]);
  }

  async connectVectors(handlers: readonly (() => void)[]): Promise<void> {
    const index = wire.VFIO_PCI_MSIX_IRQ_INDEX;
    const { fourth: count } = await this.#irqInfo(index);
    if (count < handlers.length) {
      throw new TransportError(
        'PROTOCOL',
        `the vfio-user server has ${count} MSI-X vectors, its device ${handlers.length}`,
      );
    }
    const events = handlers.map((handler) => this.#event(handler));
    for (let start = 0; start < events.length; start += this.#maxFds) {
      await this.#bind(index, start, events.slice(start, start + this.#maxFds));
    }
  }

  async connectIntx(handler: (done: () => void) => void): Promise<void> {
    const index = wire.VFIO_PCI_INTX_IRQ_INDEX;
    const { flags } = await this.#irqInfo(index);
    const unmask = codec.encodeIrqSet({
      flags: wire.VFIO_IRQ_SET_DATA_NONE | wire.VFIO_IRQ_SET_ACTION_UNMASK,
      index,
      start: 0,
      count: 1,
      bools: new Uint8Array(),
    });
    const done = (): void => {
      if ((flags & wire.VFIO_IRQ_INFO_AUTOMASKED) === 0) return;
      this.#requester.ask(wire.VFIO_USER_DEVICE_SET_IRQS, [unmask]).catch((error: TransportError) => {
        this.#requester.end(error);
      });
    };
    await this.#bind(index, 0, [this.#event(() => handler(done))]);
  }

  pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        this.#pauses.delete(end);
        alarm.close();
        resolve();
      };
      const alarm = this.#clock.alarm(end);
      this.#pauses.add(end);
      alarm.set(this.#clock.now() + ms * 1e6);
    });
  }

  onLost(lost: (error: Error) => void): void {
    this.#lostHandler = lost;
    if (this.#lost !== undefined) lost(this.#lost);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#lostHandler = undefined;
    this.#requester.end(new TransportError('LOST', 'the connection to the vfio-user server was closed'));
    for (const end of this.#pauses) end();
    for (const event of this.#events) event.close();
    this.#doorbells?.close();
    if (this.#memoryFd !== undefined) this.#os.closeFd(this.#memoryFd);
    this.#memoryFd = undefined;
    this.#releaseMemory();
  }

  async #mapMemory(): Promise<void> {
    const flags = wire.VFIO_DMA_MAP_FLAG_READ | wire.VFIO_DMA_MAP_FLAG_WRITE;
    const map = codec.encodeDmaMap({ flags, offset: 0, address: MEMORY_START, size: this.#memorySize });
    const fd = this.#memoryFd;
    const mapped = this.#requester.ask(wire.VFIO_USER_DMA_MAP, [map], fd === undefined ? [] : [fd]);
    if (fd !== undefined) this.#os.closeFd(fd);
    this.#memoryFd = undefined;
    await mapped;
  }

  async #irqInfo(index: number): Promise<{ flags: number; third: number; fourth: number }> {
    const command = wire.VFIO_USER_DEVICE_GET_IRQ_INFO;
    const payload = await this.#requester.ask(command, [codec.encodeIndex(index, command)]);
    return this.#understand('DEVICE_GET_IRQ_INFO', () => codec.decodeInfo(payload, command));
  }

  async #bind(index: number, start: number, events: readonly EventPort[]): Promise<void> {
    const set = codec.encodeIrqSet({
      flags: wire.VFIO_IRQ_SET_DATA_EVENTFD | wire.VFIO_IRQ_SET_ACTION_TRIGGER,
      index,
      start,
      count: events.length,
      bools: new Uint8Array(),
    });
    const fds = events.map(({ fd }) => fd);
    await this.#requester.ask(wire.VFIO_USER_DEVICE_SET_IRQS, [set], fds);
  }

  #event(ring: () => void): EventPort {
    const event = this.#os.createEvent();
    this.#events.push(event);
    event.watch(ring);
    return event;
  }

  /** The server reaches for memory that was not shared. */
  #serve(message: Message): void {
    try {
      this.#requester.reply(message, this.#dma(message));
    } catch (error) {
      if (error instanceof MemoryError) this.#requester.reply(message, [], ERRNO.EFAULT);
      else if (error instanceof VfioUserError) this.#requester.reply(message, [], ERRNO[error.code]);
      else throw error;
    }
  }

  #dma({ command, payload }: Message): Uint8Array[] {
    if (command !== wire.VFIO_USER_DMA_READ && command !== wire.VFIO_USER_DMA_WRITE) {
      throw new VfioUserError('ENOSYS', `a server does not send ${wire.commandName(command)}`);
    }
    const { address, count } = codec.decodeDmaAccess(payload, command);
    if (!(count <= wire.DEFAULT_MAX_DATA_XFER_SIZE)) {
      throw new VfioUserError('E2BIG', `${wire.commandName(command)} of ${count} bytes`);
    }
    const head = codec.encodeDmaAccess(address, count);
    if (command === wire.VFIO_USER_DMA_READ) {
      const bytes = new Uint8Array(count);
      this.memory.read(address, bytes);
      return [head, bytes];
    }
    codec.need(payload, wire.DMA_ACCESS.size + count, `DMA_WRITE of ${count} bytes`);
    this.memory.write(address, codec.rest(payload, wire.DMA_ACCESS.size, count));
    return [head];
  }

  /** Decodes an answer. */
  #understand<T>(what: string, decode: () => T): T {
    try {
      return decode();
    } catch (error) {
      const wrong = new TransportError(
        'PROTOCOL',
        `the vfio-user server answered ${what} wrongly: ${(error as Error).message}`,
      );
      this.#requester.end(wrong);
      throw wrong;
    }
  }

  #gone(error: Error): void {
    this.#lost = error;
    this.#lostHandler?.(error);
  }
}
