import type { GuestAddress } from '../../../memory/address.js';
import { GuestMemory } from '../../../memory/guest-memory.js';
import { MappedView } from '../../../memory/mapped-view.js';
import { type Abortable, abortable } from '../../../virtio/abortable.js';
import type { Clock } from '../../../virtio/clock.js';
import { TransportError } from '../../../virtio/driver-transport.js';
import { openPciDriver, type PciDriverOptions } from '../../pci/driver/driver.js';
import type { PciPlatform } from '../../pci/driver/pci-platform.js';
import type { Channel, EventPort, Mapping, Os } from '../../ports.js';
import * as codec from '../codec.js';
import * as wire from '../messages.js';
import { ServerLink } from './server-link.js';
import type { MovableTransport } from './transport.js';

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

/** Bytes of a page, of which it is told whether it was written. */
const PAGE_SIZE = 4096;

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
): Promise<MovableTransport> {
  const { memorySize = 16 << 20, shareMemory = true, doorbells = false, signal, ...driver } = options;
  const client = new VfioUserClient(channel, environment, memorySize, shareMemory, doorbells);
  const chosen = { notificationData: !doorbells, ...driver };
  const opened = client.connect().then(() => openPciDriver(client, client.memory, chosen));
  try {
    return Object.assign(await abortable(opened, signal), {
      move: (to: Channel) => client.move(to),
      startLog: () => client.startLog(),
      stopLog: () => client.stopLog(),
      takeDirtyPages: () => client.takeDirtyPages(),
    });
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
  readonly #memorySize: number;
  readonly #memoryFd: number | undefined;
  readonly #releaseMemory: () => void;
  readonly #doorbells: boolean;
  #link: ServerLink;
  /** The one that the device is on its way to. */
  #next: ServerLink | undefined;
  /** What each interrupt type signals. */
  readonly #bound = new Map<number, readonly EventPort[]>();
  /** What ends each pause. */
  readonly #pauses = new Set<() => void>();
  /** While the device is on its way: resolves when it can be reached again. */
  #moving: Promise<void> | undefined;
  #posted: (() => void)[] = [];
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
    this.#doorbells = doorbells;
    if (share) {
      const { fd, mapping } = os.createMemory('virtio-misc', memorySize);
      this.#memoryFd = fd;
      this.#releaseMemory = () => mapping.release();
      this.memory.add({ start: MEMORY_START, view: mapping.view });
    } else {
      this.#releaseMemory = () => {};
      this.memory.add({ start: MEMORY_START, view: new MappedView(new ArrayBuffer(memorySize)) });
    }
    this.#link = this.#linkTo(channel);
  }

  /** Negotiates, shows the memory, and resets the device. */
  async connect(): Promise<void> {
    if (await this.#link.connect()) await this.#link.requester.ask(wire.VFIO_USER_DEVICE_RESET);
  }

  async startLog(): Promise<void> {
    while (this.#moving !== undefined) await this.#moving;
    await this.#link.state.startLogging(PAGE_SIZE);
  }

  async stopLog(): Promise<void> {
    while (this.#moving !== undefined) await this.#moving;
    await this.#link.state.stopLogging();
  }

  async takeDirtyPages(): Promise<GuestAddress[]> {
    while (this.#moving !== undefined) await this.#moving;
    return this.#link.state.dirtyPages(MEMORY_START, this.#memorySize, PAGE_SIZE);
  }

  async move(channel: Channel): Promise<void> {
    const before = this.#moving;
    let arrived = (): void => {};
    this.#moving = new Promise((resolve) => {
      arrived = resolve;
    });
    const moving = this.#moving;
    try {
      await before;
      await this.#move(channel);
    } finally {
      if (this.#moving === moving) this.#moving = undefined;
      arrived();
      for (const post of this.#posted.splice(0)) post();
    }
  }

  async #move(channel: Channel): Promise<void> {
    const from = this.#link;
    const to = this.#linkTo(channel);
    this.#next = to;
    try {
      if (this.#closed) throw new TransportError('LOST', 'the transport was closed');
      await to.connect();
      if (!(await from.state.isMovable()) || !(await to.state.isMovable())) {
        throw new TransportError('REFUSED', 'one of the vfio-user servers moves no devices');
      }
      await from.state.setState(wire.VFIO_USER_DEVICE_STATE_STOP_COPY);
      const state = await from.state.read();
      await to.state.setState(wire.VFIO_USER_DEVICE_STATE_RESUMING);
      await to.state.write(state);
      await to.state.setState(wire.VFIO_USER_DEVICE_STATE_STOP);
      for (const [index, events] of this.#bound) await to.bind(index, events);
      await to.state.setState(wire.VFIO_USER_DEVICE_STATE_RUNNING);
    } catch (error) {
      to.close();
      // Wherever it got to, it goes on there; one that is gone is lost, as it would be at any time.
      await from.state.setState(wire.VFIO_USER_DEVICE_STATE_RUNNING).catch(() => {});
      throw error;
    } finally {
      this.#next = undefined;
    }
    this.#link = to;
    from.close();
  }

  readConfig(offset: number, length: number): Promise<Uint8Array> {
    return this.readBar(wire.VFIO_PCI_CONFIG_REGION_INDEX, offset, length);
  }

  writeConfig(offset: number, bytes: Uint8Array): Promise<void> {
    return this.writeBar(wire.VFIO_PCI_CONFIG_REGION_INDEX, offset, bytes);
  }

  async readBar(region: number, offset: number, count: number): Promise<Uint8Array> {
    while (this.#moving !== undefined) await this.#moving;
    return this.#link.read(region, offset, count);
  }

  async writeBar(region: number, offset: number, bytes: Uint8Array): Promise<void> {
    while (this.#moving !== undefined) await this.#moving;
    return this.#link.write(region, offset, bytes);
  }

  postBar(region: number, offset: number, bytes: Uint8Array): void {
    if (this.#moving === undefined) this.#link.post(region, offset, bytes);
    else this.#posted.push(() => this.postBar(region, offset, bytes.slice()));
  }

  async mapBar(bar: number, size: number): Promise<Mapping | undefined> {
    while (this.#moving !== undefined) await this.#moving;
    return this.#link.map(bar, size);
  }

  async connectVectors(handlers: readonly (() => void)[]): Promise<void> {
    const index = wire.VFIO_PCI_MSIX_IRQ_INDEX;
    const { fourth: count } = await this.#link.irqInfo(index);
    if (count < handlers.length) {
      throw new TransportError(
        'PROTOCOL',
        `the vfio-user server has ${count} MSI-X vectors, its device ${handlers.length}`,
      );
    }
    await this.#bind(index, handlers);
  }

  async connectIntx(handler: (done: () => void) => void): Promise<void> {
    const index = wire.VFIO_PCI_INTX_IRQ_INDEX;
    const { flags } = await this.#link.irqInfo(index);
    const unmask = codec.encodeIrqSet({
      flags: wire.VFIO_IRQ_SET_DATA_NONE | wire.VFIO_IRQ_SET_ACTION_UNMASK,
      index,
      start: 0,
      count: 1,
      bools: new Uint8Array(),
    });
    const done = (): void => {
      if ((flags & wire.VFIO_IRQ_INFO_AUTOMASKED) === 0) return;
      const { requester } = this.#link;
      requester.ask(wire.VFIO_USER_DEVICE_SET_IRQS, [unmask]).catch((error: TransportError) => {
        requester.end(error);
      });
    };
    await this.#bind(index, [() => handler(done)]);
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
    this.#link.close();
    this.#next?.close();
    for (const end of this.#pauses) end();
    for (const events of this.#bound.values()) for (const event of events) event.close();
    if (this.#memoryFd !== undefined) this.#os.closeFd(this.#memoryFd);
    this.#releaseMemory();
  }

  #linkTo(channel: Channel): ServerLink {
    const link = new ServerLink(channel, {
      os: this.#os,
      clock: this.#clock,
      memory: this.memory,
      start: MEMORY_START,
      size: this.#memorySize,
      memoryFd: this.#memoryFd,
      doorbells: this.#doorbells,
      // Not of one that is only tried, or was left.
      lost: (error) => {
        if (link === this.#link) this.#gone(error);
      },
    });
    return link;
  }

  async #bind(index: number, handlers: readonly (() => void)[]): Promise<void> {
    const events = handlers.map((handler) => {
      const event = this.#os.createEvent();
      event.watch(handler);
      return event;
    });
    this.#bound.set(index, events);
    await this.#link.bind(index, events);
  }

  #gone(error: Error): void {
    this.#lost = error;
    this.#lostHandler?.(error);
  }
}
