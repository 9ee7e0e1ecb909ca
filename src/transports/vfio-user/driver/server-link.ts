import type { GuestAddress } from '../../../memory/address.js';
import type { GuestMemory } from '../../../memory/guest-memory.js';
import { MemoryError } from '../../../memory/memory-error.js';
import type { Clock } from '../../../virtio/clock.js';
import { TransportError } from '../../../virtio/driver-transport.js';
import type { Channel, EventPort, Mapping, Os } from '../../ports.js';
import * as codec from '../codec.js';
import type { Message } from '../framing.js';
import * as wire from '../messages.js';
import { decodeVersion, encodeVersion } from '../version.js';
import { ERRNO, VfioUserError } from '../vfio-user-error.js';
import { DeviceState } from './device-state.js';
import { Requester } from './requester.js';
import { ServerDoorbells } from './server-doorbells.js';

/** What a link stands between: the memory that the server may reach, and who hears of its end. */
export interface LinkPorts {
  readonly os: Os;
  readonly clock: Clock;
  readonly memory: GuestMemory;
  readonly start: GuestAddress;
  /** Bytes. */
  readonly size: number;
  /** The memory's, which stays the caller's; `undefined` for memory that is not shared. */
  readonly memoryFd: number | undefined;
  /** Kicks are eventfds where the server has them. */
  readonly doorbells: boolean;
  lost(error: Error): void;
}

/** One server, and what a client says to it. Promises reject with a `TransportError`. */
export class ServerLink {
  readonly requester: Requester;
  /** What moves the device. */
  readonly state: DeviceState;
  readonly #ports: LinkPorts;
  readonly #doorbells: ServerDoorbells | undefined;
  /** Most descriptors that the server takes in one message. */
  #maxFds: number = wire.DEFAULT_MAX_MSG_FDS;

  constructor(channel: Channel, ports: LinkPorts) {
    const { os, clock } = ports;
    this.#ports = ports;
    this.requester = new Requester(channel, {
      clock,
      closeFd: (fd) => os.closeFd(fd),
      command: (message) => this.#serve(message),
      lost: (error) => ports.lost(error),
    });
    this.state = new DeviceState(this.requester, (what, decode) => this.understand(what, decode));
    if (ports.doorbells) this.#doorbells = new ServerDoorbells(os, this.requester);
  }

  /** Negotiates, and shows the memory. @returns whether the device can be reset. */
  async connect(): Promise<boolean> {
    const answer = await this.requester.ask(wire.VFIO_USER_VERSION, [encodeVersion()]);
    const version = this.understand('VERSION', () => decodeVersion(answer));
    if (version.major !== wire.VFIO_USER_MAJOR) {
      throw new TransportError(
        'REFUSED',
        `the vfio-user server speaks version ${version.major}.${version.minor}`,
      );
    }
    this.#maxFds = Math.max(1, version.maxMsgFds);
    await this.#mapMemory();
    const info = await this.requester.ask(wire.VFIO_USER_DEVICE_GET_INFO, [codec.encodeInfo(0, 0, 0)]);
    const { flags } = this.understand('DEVICE_GET_INFO', () =>
      codec.decodeInfo(info, wire.VFIO_USER_DEVICE_GET_INFO),
    );
    if ((flags & wire.VFIO_DEVICE_FLAGS_PCI) === 0) {
      throw new TransportError('REFUSED', 'the vfio-user server has no PCI device');
    }
    return (flags & wire.VFIO_DEVICE_FLAGS_RESET) !== 0;
  }

  async read(region: number, offset: number, count: number): Promise<Uint8Array> {
    const request = codec.encodeRegionAccess({ region, offset, count });
    const payload = await this.requester.ask(wire.VFIO_USER_REGION_READ, [request]);
    this.understand('REGION_READ', () => {
      const got = payload.byteLength - wire.REGION_ACCESS.size;
      if (got !== count) throw new VfioUserError('EINVAL', `${got} bytes of ${count}`);
    });
    return codec.rest(payload, wire.REGION_ACCESS.size);
  }

  async write(region: number, offset: number, bytes: Uint8Array): Promise<void> {
    const request = codec.encodeRegionAccess({ region, offset, count: bytes.length });
    await this.requester.ask(wire.VFIO_USER_REGION_WRITE, [request, bytes]);
  }

  post(region: number, offset: number, bytes: Uint8Array): void {
    if (this.#doorbells?.ring(region, offset, bytes.length) === true) return;
    const request = codec.encodeRegionAccess({ region, offset, count: bytes.length });
    this.requester.post(wire.VFIO_USER_REGION_WRITE, [request, bytes]);
  }

  async irqInfo(index: number): Promise<{ flags: number; third: number; fourth: number }> {
    const command = wire.VFIO_USER_DEVICE_GET_IRQ_INFO;
    const payload = await this.requester.ask(command, [codec.encodeIndex(index, command)]);
    return this.understand('DEVICE_GET_IRQ_INFO', () => codec.decodeInfo(payload, command));
  }

  /** Maps a region, if the server lets it be mapped as a whole. */
  async map(region: number, size: number): Promise<Mapping | undefined> {
    const { os } = this.#ports;
    const command = wire.VFIO_USER_DEVICE_GET_REGION_INFO;
    const { payload, fds } = await this.requester.askForFds(command, [codec.encodeIndex(region, command)]);
    const [fd, ...others] = fds;
    for (const other of others) os.closeFd(other);
    if (fd === undefined) return undefined;
    try {
      const info = this.understand('DEVICE_GET_REGION_INFO', () => codec.decodeRegionInfo(payload));
      const can = (info.flags & wire.VFIO_REGION_INFO_FLAG_MMAP) !== 0 && info.size === size;
      if (can) return os.map(fd, info.offset, size);
    } catch (error) {
      if (!(error instanceof TransportError)) return undefined;
      os.closeFd(fd);
      throw error;
    }
    os.closeFd(fd);
    return undefined;
  }

  /** Has interrupts of a type, from the first on, signal these. */
  async bind(index: number, events: readonly EventPort[]): Promise<void> {
    for (let start = 0; start < events.length; start += this.#maxFds) {
      const some = events.slice(start, start + this.#maxFds);
      const set = codec.encodeIrqSet({
        flags: wire.VFIO_IRQ_SET_DATA_EVENTFD | wire.VFIO_IRQ_SET_ACTION_TRIGGER,
        index,
        start,
        count: some.length,
        bools: new Uint8Array(),
      });
      const fds = some.map(({ fd }) => fd);
      await this.requester.ask(wire.VFIO_USER_DEVICE_SET_IRQS, [set], fds);
    }
  }

  /** Decodes an answer. @throws TransportError when it makes no sense: the connection ends then. */
  understand<T>(what: string, decode: () => T): T {
    try {
      return decode();
    } catch (error) {
      const wrong = new TransportError(
        'PROTOCOL',
        `the vfio-user server answered ${what} wrongly: ${(error as Error).message}`,
      );
      this.requester.end(wrong);
      throw wrong;
    }
  }

  close(): void {
    this.requester.end(new TransportError('LOST', 'the connection to the vfio-user server was closed'));
    this.#doorbells?.close();
  }

  async #mapMemory(): Promise<void> {
    const { start, size, memoryFd } = this.#ports;
    const flags = wire.VFIO_DMA_MAP_FLAG_READ | wire.VFIO_DMA_MAP_FLAG_WRITE;
    const map = codec.encodeDmaMap({ flags, offset: 0, address: start, size });
    await this.requester.ask(wire.VFIO_USER_DMA_MAP, [map], memoryFd === undefined ? [] : [memoryFd]);
  }

  /** The server reaches for memory that was not shared. */
  #serve(message: Message): void {
    try {
      this.requester.reply(message, this.#dma(message));
    } catch (error) {
      if (error instanceof MemoryError) this.requester.reply(message, [], ERRNO.EFAULT);
      else if (error instanceof VfioUserError) this.requester.reply(message, [], ERRNO[error.code]);
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
    const { memory } = this.#ports;
    if (command === wire.VFIO_USER_DMA_READ) {
      const bytes = new Uint8Array(count);
      memory.read(address, bytes);
      return [head, bytes];
    }
    codec.need(payload, wire.DMA_ACCESS.size + count, `DMA_WRITE of ${count} bytes`);
    memory.write(address, codec.rest(payload, wire.DMA_ACCESS.size, count));
    return [head];
  }
}
