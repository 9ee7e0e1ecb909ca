import type { Notes } from '../../keep.js';
import type { VirtioPciFunction } from '../../pci/device/virtio-function.js';
import { PCI_CFG_SPACE_SIZE } from '../../pci/pci-registers.js';
import * as codec from '../codec.js';
import { decodeMigData, decodeMigDataRead, encodeMigData } from '../feature-codec.js';
import type { Message } from '../framing.js';
import * as wire from '../messages.js';
import { VfioUserError } from '../vfio-user-error.js';
import { DeviceFeatures } from './device-features.js';
import type { Dma } from './dma.js';
import type { Doorbells } from './doorbells.js';
import type { Irqs } from './irqs.js';
import type { Migration } from './migration.js';
import { DOORBELLS } from './records.js';

/** What commands work on. */
export interface CommandPorts {
  readonly function: VirtioPciFunction;
  readonly dma: Dma;
  readonly irqs: Irqs;
  readonly doorbells: Doorbells;
  readonly migration: Migration;
  /** Most descriptors that the client takes in one message. */
  readonly maxFds: number;
  /** Answers a message, if it wants that. */
  reply(message: Message, ...pieces: Uint8Array[]): void;
  /** The same, with descriptors, which stay the caller's. */
  replyWith(message: Message, payload: Uint8Array, fds: readonly number[]): void;
  /** For the next process, with what is answered next. */
  note(notes: Notes): void;
  /** Answers one that could not be obeyed. */
  refuse(message: Message, error: VfioUserError): void;
  /** No other command is served until what this returns is called. */
  hold(): () => void;
}

/** Carries out what a client asks of its device, VERSION aside. */
export class Commands {
  readonly #ports: CommandPorts;
  readonly #features: DeviceFeatures;

  constructor(ports: CommandPorts) {
    this.#ports = ports;
    this.#features = new DeviceFeatures(ports);
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
        this.#unmap(message);
        break;
      case wire.VFIO_USER_DEVICE_GET_INFO:
        this.#ports.reply(message, this.#deviceInfo(payload));
        break;
      case wire.VFIO_USER_DEVICE_GET_REGION_INFO:
        this.#regionInfo(message, codec.decodeIndex(payload, command));
        break;
      case wire.VFIO_USER_DEVICE_GET_REGION_IO_FDS:
        this.#regionIoFds(message);
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
        this.#ports.function.reset(() => {
          this.#ports.migration.reset();
          this.#ports.reply(message);
        });
        break;
      case wire.VFIO_USER_MIG_DATA_READ: {
        const data = this.#ports.migration.read(decodeMigDataRead(payload));
        this.#ports.reply(message, encodeMigData(data.length), data);
        break;
      }
      case wire.VFIO_USER_MIG_DATA_WRITE:
        this.#ports.migration.write(decodeMigData(payload, command));
        this.#ports.reply(message);
        break;
      case wire.VFIO_USER_DEVICE_FEATURE:
        this.#features.serve(message);
        break;
      default:
        throw new VfioUserError('ENOSYS', `${wire.commandName(command)} is not supported`);
    }
    return undefined;
  }

  #unmap(message: Message): void {
    const unmap = codec.decodeDmaUnmap(message.payload);
    const dirty = this.#ports.dma.unmap(unmap);
    if (dirty === undefined) {
      this.#ports.reply(message, codec.rest(message.payload, 0, wire.DMA_UNMAP.size));
    } else {
      const head = codec.rest(message.payload, 0, wire.DMA_UNMAP.size + wire.BITMAP.size);
      this.#ports.reply(message, head, dirty);
    }
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

  /** Shared memory may be mapped by the client, to which its file is given. */
  #regionInfo(message: Message, index: number): void {
    const size = this.#regionSize(index);
    const flags = size === 0 ? 0 : wire.VFIO_REGION_INFO_FLAG_READ | wire.VFIO_REGION_INFO_FLAG_WRITE;
    const { mappable } = this.#ports.function;
    if (mappable?.bar !== index || this.#ports.maxFds === 0) {
      this.#ports.reply(message, codec.encodeRegionInfo(index, flags, size));
      return;
    }
    const info = codec.encodeRegionInfo(index, flags | wire.VFIO_REGION_INFO_FLAG_MMAP, size);
    this.#ports.replyWith(message, info, [mappable.fd]);
  }

  /** Only kicks can come as eventfds. */
  #regionIoFds(message: Message): void {
    const { payload, command } = message;
    const index = codec.decodeIndex(payload, command);
    this.#regionSize(index);
    const { flags, count } = wire.REGION_IO_FDS;
    if (payload.getUint32(flags, true) !== 0 || payload.getUint32(count, true) !== 0) {
      throw new VfioUserError('EINVAL', 'DEVICE_GET_REGION_IO_FDS says more than which region');
    }
    // Nothing is made that nobody hears of.
    if ((message.flags & wire.VFIO_USER_F_NO_REPLY) !== 0) {
      this.#ports.reply(message);
      return;
    }
    const room = payload.getUint32(wire.REGION_IO_FDS.argsz, true);
    const { maxFds, doorbells } = this.#ports;
    const bar = this.#ports.function.doorbells.bar;
    const answer = doorbells.answer(index, room, index === bar ? maxFds : 0);
    if (doorbells.fds.length > 0)
      this.#ports.note({ put: [{ key: DOORBELLS, bytes: new Uint8Array(), fds: doorbells.fds }] });
    this.#ports.replyWith(message, answer.payload, answer.fds);
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
    this.#ports.migration.checkWritable();
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
