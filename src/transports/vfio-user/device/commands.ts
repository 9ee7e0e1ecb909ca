import type { VirtioPciFunction } from '../../pci/device/virtio-function.js';
import { PCI_CFG_SPACE_SIZE } from '../../pci/pci-registers.js';
import * as codec from '../codec.js';
import type { Message } from '../framing.js';
import * as wire from '../messages.js';
import { VfioUserError } from '../vfio-user-error.js';
import type { Dma } from './dma.js';
import type { Irqs } from './irqs.js';

/** What commands work on. */
export interface CommandPorts {
  readonly function: VirtioPciFunction;
  readonly dma: Dma;
  readonly irqs: Irqs;
  /** Answers a message, if it wants that. */
  reply(message: Message, ...pieces: Uint8Array[]): void;
}

/** Carries out what a client asks of its device, VERSION aside. */
export class Commands {
  readonly #ports: CommandPorts;

  constructor(ports: CommandPorts) {
    this.#ports = ports;
  }

  /**
   * @param message - its descriptors that are taken are removed.
   * @returns the steps of one that is not done at once; each may throw the same.
   * @throws VfioUserError for one that can't be obeyed; it was not answered.
   */
  run(message: Message): Iterator<void> | undefined {
    const { command, payload } = message;
    const { dma, irqs } = this.#ports;
    switch (command) {
      case wire.VFIO_USER_DMA_MAP:
        dma.map(codec.decodeDmaMap(payload), message.fds);
        this.#ports.reply(message);
        break;
      case wire.VFIO_USER_DMA_UNMAP:
        dma.unmap(codec.decodeDmaUnmap(payload));
        this.#ports.reply(message, codec.rest(payload, 0, wire.DMA_UNMAP.size));
        break;
      case wire.VFIO_USER_DEVICE_GET_INFO:
        this.#ports.reply(message, this.#deviceInfo(payload));
        break;
      case wire.VFIO_USER_DEVICE_GET_REGION_INFO:
        this.#ports.reply(message, this.#regionInfo(codec.decodeIndex(payload, command)));
        break;
      case wire.VFIO_USER_DEVICE_GET_REGION_IO_FDS:
        this.#ports.reply(message, this.#regionIoFds(codec.decodeIndex(payload, command)));
        break;
      case wire.VFIO_USER_DEVICE_GET_IRQ_INFO:
        this.#ports.reply(message, this.#irqInfo(codec.decodeIndex(payload, command)));
        break;
      case wire.VFIO_USER_DEVICE_SET_IRQS:
        irqs.set(codec.decodeIrqSet(payload), message.fds);
        this.#ports.reply(message);
        break;
      case wire.VFIO_USER_REGION_READ: {
        const access = codec.decodeRegionAccess(payload, command);
        this.#ports.reply(message, codec.encodeRegionAccess(access), this.#readRegion(access));
        break;
      }
      case wire.VFIO_USER_REGION_WRITE: {
        const write = codec.decodeRegionWrite(payload);
        this.#writeRegion(write);
        this.#ports.reply(message, codec.encodeRegionAccess(write));
        break;
      }
      case wire.VFIO_USER_REGION_WRITE_MULTI:
        return this.#writeMulti(message);
      case wire.VFIO_USER_DEVICE_RESET:
        this.#ports.function.reset(() => this.#ports.reply(message));
        break;
      default:
        throw new VfioUserError('ENOSYS', `${wire.commandName(command)} is not supported`);
    }
    return undefined;
  }

  *#writeMulti(message: Message): Generator<void> {
    for (const write of codec.decodeWriteMulti(message.payload)) {
      this.#writeRegion(write);
      yield;
    }
    this.#ports.reply(message, codec.rest(message.payload, 0, wire.WRITE_MULTI.size));
  }

  #deviceInfo(payload: DataView): Uint8Array {
    codec.need(payload, wire.DEVICE_INFO.size, 'DEVICE_GET_INFO');
    const flags = wire.VFIO_DEVICE_FLAGS_RESET | wire.VFIO_DEVICE_FLAGS_PCI;
    return codec.encodeInfo(flags, wire.VFIO_PCI_NUM_REGIONS, wire.VFIO_PCI_NUM_IRQS);
  }

  #regionInfo(index: number): Uint8Array {
    const size = this.#regionSize(index);
    const flags = size === 0 ? 0 : wire.VFIO_REGION_INFO_FLAG_READ | wire.VFIO_REGION_INFO_FLAG_WRITE;
    return codec.encodeRegionInfo(index, flags, size);
  }

  /** No region has any: kicks come as REGION_WRITE. */
  #regionIoFds(index: number): Uint8Array {
    this.#regionSize(index);
    return codec.encodeInfo(0, index, 0);
  }

  #irqInfo(index: number): Uint8Array {
    const { count, flags } = this.#ports.irqs.info(index);
    return codec.encodeInfo(flags, index, count);
  }

  #readRegion(access: codec.RegionAccess): Uint8Array {
    this.#checkAccess(access);
    const { region, offset, count } = access;
    return region === wire.VFIO_PCI_CONFIG_REGION_INDEX
      ? this.#ports.function.readConfig(offset, count)
      : this.#ports.function.readBar(region, offset, count);
  }

  #writeRegion(write: codec.RegionWrite): void {
    this.#checkAccess(write);
    const { region, offset, data } = write;
    if (region === wire.VFIO_PCI_CONFIG_REGION_INDEX) this.#ports.function.writeConfig(offset, data);
    else this.#ports.function.writeBar(region, offset, data);
  }

  #checkAccess({ region, offset, count }: codec.RegionAccess): void {
    const size = this.#regionSize(region);
    if (!(count > 0 && offset + count <= size)) {
      throw new VfioUserError('EINVAL', `${count} bytes at ${offset} of region ${region}, which has ${size}`);
    }
  }

  /** Bytes; 0 for a region that a PCI device may have and this one has not. */
  #regionSize(index: number): number {
    if (index === wire.VFIO_PCI_CONFIG_REGION_INDEX) return PCI_CFG_SPACE_SIZE;
    if (index >= wire.VFIO_PCI_NUM_REGIONS) throw new VfioUserError('EINVAL', `there is no region ${index}`);
    return this.#ports.function.bars.find((bar) => bar.index === index)?.size ?? 0;
  }
}
