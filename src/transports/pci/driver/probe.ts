import { joinAddress } from '../../../memory/address.js';
import { TransportError } from '../../../virtio/driver-transport.js';
import * as pci from '../pci-registers.js';
import * as virtio from '../virtio-pci.js';
import type { PciAccess } from './pci-platform.js';

/** A structure that a capability points to. */
export interface Structure {
  readonly bar: number;
  readonly offset: number;
  /** Bytes. */
  readonly length: number;
}

/** What a driver must know of a virtio function before it can use it. */
export interface ProbedFunction {
  /** The virtio device id. */
  readonly deviceId: number;
  readonly bars: readonly pci.Bar[];
  readonly common: Structure;
  readonly notify: Structure & { readonly multiplier: number };
  readonly isr: Structure;
  /** Absent for a device without a configuration space. */
  readonly device: Structure | undefined;
  /** Shared memory regions, by id. */
  readonly shared: ReadonlyMap<number, Structure>;
  readonly msix: { readonly at: number; readonly vectors: number; readonly table: Structure } | undefined;
}

/** A list longer than this loops: the configuration space has no room for more (PCI 3.0 §6.7). */
const CAPABILITIES_MOST = 48;
/** Where BARs are put: below the addresses of interrupt messages, and above legacy ports. */
const MEMORY_WINDOW = { start: 0xc000_0000, end: 0xfec0_0000 };
const IO_WINDOW = { start: 0x1000, end: 0x1_0000 };
const WIDE_WINDOW = { start: 2 ** 40, end: 2 ** 46 };
const WINDOWS = { memory: MEMORY_WINDOW, io: IO_WINDOW, wide: WIDE_WINDOW };
/** Bytes of a BAR from which on it is large. */
const WIDE_FROM = 2 ** 24;

/**
 * Finds out what a function is, as a kernel does: ids, BAR sizing (and placing), the capability list (VIRTIO 1.3 §4.1.2,
 * §4.1.4). Believes nothing: what a driver could not use is refused here.
 *
 * @throws TransportError `REFUSED` when it is no virtio device, `PROTOCOL` when it contradicts itself.
 */
export async function probeFunction(access: PciAccess): Promise<ProbedFunction> {
  const config = new ConfigReader(access);
  const deviceId = await identify(config);
  const bars = await placeBars(access, config);
  const structures = new Map<number, Structure & { multiplier: number }>();
  const shared = new Map<number, Structure>();
  let msix: ProbedFunction['msix'];
  for (const at of await capabilities(config)) {
    const id = await config.read8(at);
    if (id === pci.PCI_CAP_ID_MSIX) msix ??= await readMsix(config, at, bars);
    if (id !== pci.PCI_CAP_ID_VNDR) continue;
    const region = await readShared(config, at, bars);
    // Each has an id of its own (§4.1.4.7.1).
    if (region !== undefined && !shared.has(region.id)) shared.set(region.id, region);
    const found = await readStructure(config, at, bars);
    // The first that can be used is the one that the device prefers (§4.1.4.1).
    if (found !== undefined && !structures.has(found.type)) structures.set(found.type, found);
  }
  const need = (type: number, what: string): Structure & { multiplier: number } => {
    const structure = structures.get(type);
    if (structure === undefined) {
      throw new TransportError('REFUSED', `the device has no usable ${what} structure (VIRTIO §4.1.4)`);
    }
    return structure;
  };
  return {
    deviceId,
    bars,
    common: need(virtio.VIRTIO_PCI_CAP_COMMON_CFG, 'common configuration'),
    notify: need(virtio.VIRTIO_PCI_CAP_NOTIFY_CFG, 'notification'),
    isr: need(virtio.VIRTIO_PCI_CAP_ISR_CFG, 'ISR'),
    device: structures.get(virtio.VIRTIO_PCI_CAP_DEVICE_CFG),
    shared,
    msix,
  };
}

/** Little-endian reads of the configuration space. */
class ConfigReader {
  readonly #access: PciAccess;

  constructor(access: PciAccess) {
    this.#access = access;
  }

  async read8(offset: number): Promise<number> {
    return (await this.#read(offset, 1)).getUint8(0);
  }

  async read16(offset: number): Promise<number> {
    return (await this.#read(offset, 2)).getUint16(0, true);
  }

  async read32(offset: number): Promise<number> {
    return (await this.#read(offset, 4)).getUint32(0, true);
  }

  async #read(offset: number, length: number): Promise<DataView> {
    const bytes = await this.#access.readConfig(offset, length);
    return new DataView(bytes.buffer, bytes.byteOffset, length);
  }
}

async function identify(config: ConfigReader): Promise<number> {
  const vendor = await config.read16(pci.PCI_VENDOR_ID);
  const device = await config.read16(pci.PCI_DEVICE_ID);
  if (vendor !== virtio.PCI_VENDOR_ID_REDHAT_QUMRANET || device < 0x1000 || device > 0x107f) {
    const id = `${vendor.toString(16).padStart(4, '0')}:${device.toString(16).padStart(4, '0')}`;
    throw new TransportError('REFUSED', `PCI device ${id} is no virtio device (VIRTIO §4.1.2)`);
  }
  return device < 0x1040 ? config.read16(pci.PCI_SUBSYSTEM_ID) : device - 0x1040;
}

/** Sizes each BAR by writing ones to it (PCI 3.0 §6.2.5.1), and gives it an address. */
async function placeBars(access: PciAccess, config: ConfigReader): Promise<pci.Bar[]> {
  const write32 = (offset: number, value: number): Promise<void> =>
    access.writeConfig(offset, Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24));
  // Nothing is decoded while the addresses make no sense.
  await access.writeConfig(pci.PCI_COMMAND, Uint8Array.of(0, 0));
  const bars: pci.Bar[] = [];
  const next = { memory: MEMORY_WINDOW.start, io: IO_WINDOW.start, wide: WIDE_WINDOW.start };
  for (let index = 0; index < pci.PCI_STD_NUM_BARS; index++) {
    const at = pci.PCI_BASE_ADDRESS_0 + 4 * index;
    await write32(at, 0xffff_ffff);
    const mask = await config.read32(at);
    if (mask === 0) continue;
    const kind = (mask & pci.PCI_BASE_ADDRESS_SPACE_IO) !== 0 ? 'io' : 'memory';
    // An I/O BAR may leave the upper 16 bits out.
    const bits = kind === 'io' ? (mask | 0xffff_0000) & ~0x3 : mask & ~0xf;
    const wide =
      kind === 'memory' &&
      (mask & pci.PCI_BASE_ADDRESS_MEM_TYPE_64) !== 0 &&
      index + 1 < pci.PCI_STD_NUM_BARS;
    if (wide) await write32(at + 4, 0xffff_ffff);
    const size = wide ? sizeOf(bits, await config.read32(at + 4)) : (~bits >>> 0) + 1;
    // What is large goes above 4 GiB, if it can.
    const room = wide && size > WIDE_FROM ? 'wide' : kind;
    const address = Math.ceil(next[room] / size) * size;
    if (!Number.isInteger(Math.log2(size)) || address + size > WINDOWS[room].end) {
      throw new TransportError('PROTOCOL', `BAR ${index} has ${size} bytes, which can't be placed`);
    }
    next[room] = address + size;
    await write32(at, address % 2 ** 32);
    if (wide) await write32(at + 4, Math.floor(address / 2 ** 32));
    bars.push(wide ? { index, kind, size, wide } : { index, kind, size });
    if (wide) index += 1;
  }
  return bars;
}

/** What a BAR of 64 bits says of its size. @returns bytes. */
function sizeOf(low: number, high: number): number {
  const bits = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
  return Number(BigInt.asUintN(64, ~bits) + 1n);
}

async function capabilities(config: ConfigReader): Promise<number[]> {
  const found: number[] = [];
  if (((await config.read16(pci.PCI_STATUS)) & pci.PCI_STATUS_CAP_LIST) === 0) return found;
  let at = (await config.read8(pci.PCI_CAPABILITY_LIST)) & ~0x3;
  while (at >= pci.PCI_STD_HEADER_SIZEOF) {
    if (found.length === CAPABILITIES_MOST) {
      throw new TransportError('PROTOCOL', 'the PCI capability list loops');
    }
    found.push(at);
    at = (await config.read8(at + 1)) & ~0x3;
  }
  return found;
}

async function readMsix(
  config: ConfigReader,
  at: number,
  bars: readonly pci.Bar[],
): Promise<ProbedFunction['msix']> {
  if (at + 12 > pci.PCI_CFG_SPACE_SIZE) return undefined;
  const vectors = ((await config.read16(at + pci.PCI_MSIX_FLAGS)) & pci.PCI_MSIX_FLAGS_QSIZE) + 1;
  const where = await config.read32(at + pci.PCI_MSIX_TABLE);
  const table = {
    bar: where & pci.PCI_MSIX_BIR,
    offset: (where & ~pci.PCI_MSIX_BIR) >>> 0,
    length: vectors * pci.PCI_MSIX_ENTRY_SIZE,
  };
  return fits(table, bars) ? { at, vectors, table } : undefined;
}

/** @returns `undefined` for one that is reserved, or that can't be used. */
async function readStructure(
  config: ConfigReader,
  at: number,
  bars: readonly pci.Bar[],
): Promise<(Structure & { type: number; multiplier: number }) | undefined> {
  if (at + virtio.CAP.size > pci.PCI_CFG_SPACE_SIZE) return undefined;
  const type = await config.read8(at + virtio.CAP.cfg_type);
  const notify = type === virtio.VIRTIO_PCI_CAP_NOTIFY_CFG;
  const size = notify ? virtio.CAP.notifySize : virtio.CAP.size;
  if ((await config.read8(at + virtio.CAP.cap_len)) < size || at + size > pci.PCI_CFG_SPACE_SIZE)
    return undefined;
  const structure = {
    type,
    bar: await config.read8(at + virtio.CAP.bar),
    offset: await config.read32(at + virtio.CAP.offset),
    length: await config.read32(at + virtio.CAP.length),
    multiplier: notify ? await config.read32(at + virtio.CAP.notify_off_multiplier) : 0,
  };
  const least = type === virtio.VIRTIO_PCI_CAP_COMMON_CFG ? virtio.COMMON.minimum : 1;
  return structure.length >= least && fits(structure, bars) ? structure : undefined;
}

/** @returns `undefined` for one that is something else, or that can't be used. */
async function readShared(
  config: ConfigReader,
  at: number,
  bars: readonly pci.Bar[],
): Promise<(Structure & { id: number }) | undefined> {
  const { CAP } = virtio;
  if (at + CAP.size64 > pci.PCI_CFG_SPACE_SIZE) return undefined;
  if ((await config.read8(at + CAP.cfg_type)) !== virtio.VIRTIO_PCI_CAP_SHARED_MEMORY_CFG) return undefined;
  if ((await config.read8(at + CAP.cap_len)) < CAP.size64) return undefined;
  const wide = async (low: number, high: number): Promise<number> =>
    joinAddress(await config.read32(at + low), await config.read32(at + high));
  const region = {
    id: await config.read8(at + CAP.id),
    bar: await config.read8(at + CAP.bar),
    offset: await wide(CAP.offset, CAP.offset_hi),
    length: await wide(CAP.length, CAP.length_hi),
  };
  return region.length > 0 && fits(region, bars) ? region : undefined;
}

function fits({ bar, offset, length }: Structure, bars: readonly pci.Bar[]): boolean {
  const size = bars.find(({ index }) => index === bar)?.size ?? 0;
  return offset + length <= size;
}
