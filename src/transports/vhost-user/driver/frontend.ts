import type { FrontendAddress, GuestAddress } from '../../../memory/address.js';
import { GuestMemory } from '../../../memory/guest-memory.js';
import type { Clock } from '../../../virtio/clock.js';
import { type RingPlace, TransportError } from '../../../virtio/driver-transport.js';
import {
  ALL_RING_FEATURES,
  VIRTIO_F_ACCESS_PLATFORM,
  VIRTIO_F_RING_PACKED,
} from '../../../virtio/features.js';
import type { DriverSharedMemory } from '../../../virtio/shared-memory.js';
import { VIRTQ_USED } from '../../../virtqueue/split/layout.js';
import type { Channel, EventPort, Mapping, Os } from '../../ports.js';
import { VHOST_USER_FEATURES } from '../../transport-features.js';
import type { IotlbMessage } from '../iotlb-message.js';
import {
  CONFIG,
  F_PROTOCOL_FEATURES,
  MAX_CONFIG_SIZE,
  PROTOCOL_F,
  REQUEST,
  VHOST_F_LOG_ALL,
  VHOST_VRING_F_LOG,
} from '../messages.js';
import * as payloads from '../payloads.js';
import { DeviceStates } from './device-states.js';
import { DirtyPages } from './dirty-pages.js';
import { InflightBuffer } from './inflight-buffer.js';
import { FrontendIommu } from './iommu.js';
import type { InbandKick } from './notices.js';
import { BackendPeer } from './peer.js';
import { Persistence } from './persistence.js';
import { FrontendSharedMemory } from './shared-memory.js';
import type { VhostUserTransport } from './transport.js';

/** What a front-end needs of the process. */
export interface FrontendEnvironment {
  readonly os: Os;
  readonly clock: Clock;
  /** Connects once more to where the back-end is. @throws OsError when nobody listens there. */
  dial?(): Channel;
}

export interface FrontendOptions {
  /** Bytes of memory for rings and buffers, a multiple of 4096. 16 MiB unless told. */
  readonly memorySize?: number;
  /** The most descriptors of a queue; 1024 unless told. vhost-user does not tell, but a back-end may refuse fewer. */
  readonly queueSize?: number;
  /** ms that a reply may take. 10,000 unless told: a back-end finishes what is in flight before it stops a ring. */
  readonly timeout?: number;
  /** Kicks and interrupts are messages instead of eventfds, where the back-end offers that (INBAND_NOTIFICATIONS): slower, and easy to follow. */
  readonly inband?: boolean;
  /**
   * ms that a back-end may be gone, `true` for any time: the next one that listens at the same socket goes on with what is in flight, and the driver
   * notices nothing but that it takes longer. It may carry out a request that the last one carried out and did not answer. Only with a back-end
   * that keeps what is in flight (INFLIGHT_SHMFD); others are refused. Not unless told.
   */
  readonly reconnect?: boolean | number;
  /** With ACCESS_PLATFORM, bytes that the back-end is told of at a time when it asks what an address means: a power of two, 4096 or more. All of the memory unless told. */
  readonly granule?: number;
}

/** Where the memory is in an address space of ours that the back-end knows as the guest's. Not 0, and above 4 GiB, as most of a real guest's is. */
const GUEST_START = 0x1_0000_0000 as GuestAddress;
/** Where it is in what the back-end takes for our own memory: any number will do, and one that is different shows who mixes them up. */
const USER_START = 0x7f00_0000_0000 as FrontendAddress;

/** What a back-end may offer that no front-end can do. */
const UNSAYABLE = ALL_RING_FEATURES & ~VHOST_USER_FEATURES.all;

/** The device status (VIRTIO 1.3 §2.1). */
const ACKNOWLEDGE_DRIVER = 3n;
const DRIVER_OK = 4n;
const FEATURES_OK = 8n;
const FAILED = 0x80n;

/** A queue that was set up. */
interface Queue {
  /** None of these with in-band notifications. */
  readonly events:
    | { readonly kick: EventPort; readonly call: EventPort; readonly err: EventPort }
    | undefined;
  /** Kicks by messages, then. */
  readonly inband: InbandKick | undefined;
  readonly ring: RingPlace;
  readonly interrupt: () => void;
  /** The next available index, when it does not run. */
  base: number;
  running: boolean;
}

/**
 * A driver's way to a device behind a vhost-user socket, whoever serves it: virtio-misc itself, qemu-storage-daemon,
 * DPDK. Once it is lost it stays lost, unless it is told to reconnect: connect again and make another.
 */
export class VhostUserFrontend implements VhostUserTransport {
  readonly name = 'vhost-user';
  readonly deviceId = undefined;
  readonly memory: GuestMemory = new GuestMemory();
  readonly #os: Os;
  readonly #memoryFd: number;
  readonly #mapping: Mapping;
  readonly #clock: Clock;
  readonly #inband: boolean;
  readonly #timeout: number;
  readonly #dial: (() => Channel) | undefined;
  /** ns that a back-end may be gone; 0 when it may not. */
  readonly #window: number;
  #peer: BackendPeer;
  readonly #queueSize: number;
  readonly #queues = new Map<number, Queue>();
  readonly #iommu: FrontendIommu;
  readonly #shared: FrontendSharedMemory;
  #hasMemory = false;
  #configGeneration = 0;
  /** What the driver accepted. */
  #features = 0n;
  #log: DirtyPages | undefined;
  #states: DeviceStates;
  /** While it reconnects: what ends that, and when it is over. */
  #away: Persistence | undefined;
  #joining: BackendPeer | undefined;
  #back: Promise<void> | undefined;
  #inflight: InflightBuffer | undefined;
  /** The device runs, and there is something to go on with. */
  #started = false;
  #configChanged: () => void = () => {};
  #failed: ((error: TransportError) => void) | undefined;
  #failure: TransportError | undefined;
  #closed = false;

  /**
   * @param channel - a connection to a back-end, owned from now on.
   * @throws OsError when there is no memory to share.
   */
  constructor(channel: Channel, { os, clock, dial }: FrontendEnvironment, options: FrontendOptions = {}) {
    const {
      memorySize = 16 << 20,
      queueSize = 1024,
      timeout = 10_000,
      reconnect = false,
      inband = false,
      granule = 2 ** 52,
    } = options;
    if (inband && reconnect !== false) {
      throw new TypeError('a back-end is reconnected to with eventfds only: leave inband out');
    }
    this.#iommu = new FrontendIommu(GUEST_START, memorySize, granule);
    this.#shared = new FrontendSharedMemory(os, clock, timeout * 1e6);
    this.#os = os;
    this.#clock = clock;
    this.#dial = dial;
    this.#queueSize = queueSize;
    this.#timeout = timeout;
    this.#inband = inband;
    this.#window = windowOf(reconnect);
    this.#peer = this.#meet(channel);
    this.#states = new DeviceStates(os, this.#peer);
    try {
      const { fd, mapping } = os.createMemory('virtio-misc', memorySize);
      this.#memoryFd = fd;
      this.#mapping = mapping;
    } catch (error) {
      this.#peer.close();
      throw error;
    }
    this.memory.add({ start: GUEST_START, view: this.#mapping.view });
  }

  get protocolFeatures(): bigint {
    return this.#peer.protocolFeatures;
  }

  async reset(): Promise<void> {
    // From here on there is nothing to go on with.
    this.#stayAway();
    await this.#peer.greet();
    for (const index of [...this.#queues.keys()]) {
      await this.stopQueue(index);
      this.#closeQueue(index);
    }
    if (this.#peer.has(PROTOCOL_F.RESET_DEVICE)) await this.#peer.command(REQUEST.RESET_DEVICE);
    if (this.#peer.has(PROTOCOL_F.STATUS)) {
      await this.#peer.command(REQUEST.SET_STATUS, payloads.encodeU64(0n));
      await this.#peer.command(REQUEST.SET_STATUS, payloads.encodeU64(ACKNOWLEDGE_DRIVER));
    }
    await this.#peer.settle();
    this.#shared.clear();
    this.#dropInflight();
    // Whatever was wrong with the device is mended.
    this.#failure = undefined;
  }

  async offeredFeatures(): Promise<bigint> {
    await this.#peer.greet();
    const features = this.#peer.features & ~(F_PROTOCOL_FEATURES | VHOST_F_LOG_ALL | UNSAYABLE);
    // What it asks must reach us, and it must hear when it was told.
    const asks = this.#peer.has(PROTOCOL_F.BACKEND_REQ) && this.#peer.has(PROTOCOL_F.REPLY_ACK);
    return asks ? features : features & ~VIRTIO_F_ACCESS_PLATFORM;
  }

  async acceptFeatures(features: bigint): Promise<void> {
    await this.#peer.greet();
    this.#features = features;
    await this.#sayFeatures(this.#peer);
    if (this.#peer.has(PROTOCOL_F.STATUS)) {
      await this.#peer.command(REQUEST.SET_STATUS, payloads.encodeU64(ACKNOWLEDGE_DRIVER | FEATURES_OK));
      if (((await this.#peer.askU64(REQUEST.GET_STATUS)) & FEATURES_OK) === 0n) {
        throw new TransportError('REFUSED', 'the device does not accept these features (VIRTIO §3.1.1)');
      }
    }
    this.#shared.meet(this.#peer.sharedMemory);
    await this.#shareMemory();
    await this.#peer.settle();
  }

  async maxQueueSize(index: number): Promise<number> {
    await this.#peer.greet();
    this.#peer.checkAlive();
    const { queueCount } = this.#peer;
    return queueCount !== undefined && index >= queueCount ? 0 : this.#queueSize;
  }

  async startQueue(index: number, ring: RingPlace, base: number, interrupt: () => void): Promise<() => void> {
    this.#peer.checkAlive();
    this.#closeQueue(index);
    const os = this.#os;
    const inband = this.#peer.has(PROTOCOL_F.INBAND_NOTIFICATIONS) ? this.#peer.inbandKick(index) : undefined;
    const events =
      inband === undefined
        ? { kick: os.createEvent(), call: os.createEvent(), err: os.createEvent() }
        : undefined;
    const queue: Queue = { events, inband, ring, interrupt, base, running: false };
    this.#queues.set(index, queue);
    events?.call.watch(interrupt);
    events?.err.watch(() => this.#broke(index));
    await this.#sayQueue(this.#peer, index, queue, base);
    return () => kick(queue);
  }

  /** The ring is stopped, which lets the device finish what it has, and begins anew (VIRTIO 1.3 §2.6.1). */
  async resetQueue(index: number): Promise<void> {
    await this.stopQueue(index);
    this.#closeQueue(index);
  }

  async start(): Promise<void> {
    await this.#keepInflight();
    for (const [index, queue] of this.#queues) {
      if (queue.running) continue;
      // From now on it must be stopped by GET_VRING_BASE.
      queue.running = true;
      if (queue.inband !== undefined) queue.inband.held = false;
      await this.#sayStarted(this.#peer, index, queue);
    }
    await this.#sayReady(this.#peer);
    await this.#peer.settle();
    this.#started = true;
    // For back-ends that hold by the older rule, that a ring starts with its first kick.
    for (const queue of this.#queues.values()) kick(queue);
  }

  async giveUp(): Promise<void> {
    if (!this.#peer.has(PROTOCOL_F.STATUS)) return;
    const status = await this.#peer.askU64(REQUEST.GET_STATUS);
    await this.#peer.command(REQUEST.SET_STATUS, payloads.encodeU64(status | FAILED));
  }

  /**
   * Stops a queue after the device finished what is in flight; `startQueue` and `start` let it go on.
   *
   * @param options - with `drain: false` that is not waited for, and the device starts with it anew; only where the back-end can (SKIP_DRAIN), and
   *   keeps what is in flight.
   * @returns the base to start it from.
   */
  async stopQueue(index: number, { drain = true }: { readonly drain?: boolean } = {}): Promise<number> {
    const queue = this.#queues.get(index);
    if (queue === undefined) throw new RangeError(`queue ${index} was not set up`);
    if (!queue.running) return queue.base;
    queue.running = false;
    if (queue.inband !== undefined) queue.inband.held = true;
    if ((this.#peer.features & F_PROTOCOL_FEATURES) !== 0n) {
      await this.#peer.command(REQUEST.SET_VRING_ENABLE, payloads.encodeVringState({ index, num: 0 }));
    }
    const request = payloads.encodeVringState({ index, num: 0 });
    const skip =
      !drain && this.#inflight !== undefined && this.#peer.has(PROTOCOL_F.GET_VRING_BASE_SKIP_DRAIN);
    const stop = skip ? REQUEST.GET_VRING_BASE_SKIP_DRAIN : REQUEST.GET_VRING_BASE;
    const reply = await this.#peer.ask(stop, request, request.length);
    if (reply.byteLength === 0) {
      throw new TransportError('REFUSED', `the back-end does not stop queue ${index}`);
    }
    const { num } = payloads.decodeVringState(reply);
    queue.base = (this.#features & VIRTIO_F_RING_PACKED) !== 0n ? num : num & 0xffff;
    return queue.base;
  }

  /** vhost-user has none: it counts the changes that the device told. Each `readConfig` is one message, so never torn. */
  async configGeneration(): Promise<number> {
    if (this.#back !== undefined) await this.#back;
    this.#peer.checkAlive();
    return this.#configGeneration;
  }

  readConfig(offset: number, length: number): Promise<Uint8Array> {
    return this.#lasting(() => this.#readConfig(offset, length));
  }

  async #readConfig(offset: number, length: number): Promise<Uint8Array> {
    this.#checkConfig(offset, length);
    // From 0 on, because libvhost-user takes no notice of the offset.
    const size = offset + length;
    const request = payloads.encodeConfig({ offset: 0, size, flags: 0, bytes: new Uint8Array(size) });
    const reply = await this.#peer.ask(REQUEST.GET_CONFIG, request, request.length);
    if (reply.byteLength === 0) {
      throw new TransportError('REFUSED', `the device has no ${size} bytes of configuration space`);
    }
    return new Uint8Array(reply.buffer.slice(CONFIG.payload + offset));
  }

  writeConfig(offset: number, bytes: Uint8Array): Promise<void> {
    return this.#lasting(() => this.#writeConfig(offset, bytes));
  }

  async #writeConfig(offset: number, bytes: Uint8Array): Promise<void> {
    this.#checkConfig(offset, bytes.length);
    const access = { offset, size: bytes.length, flags: 0, bytes };
    await this.#peer.command(REQUEST.SET_CONFIG, payloads.encodeConfig(access));
    await this.#peer.settle();
  }

  async invalidate(address?: GuestAddress, length?: number): Promise<void> {
    if (!this.#translates) throw new TransportError('REFUSED', 'the back-end is told of no translations');
    await this.#peer.command(REQUEST.IOTLB_MSG, this.#iommu.invalidation(address, length));
  }

  async sharedMemory(): Promise<ReadonlyMap<number, DriverSharedMemory>> {
    await this.#peer.greet();
    this.#shared.meet(this.#peer.sharedMemory);
    return this.#shared.regions;
  }

  onConfigChange(changed: () => void): void {
    this.#configChanged = changed;
  }

  onFailure(failed: (error: TransportError) => void): void {
    this.#failed = failed;
    if (this.#failure !== undefined) failed(this.#failure);
  }

  async pause(): Promise<void> {
    for (const index of this.#queues.keys()) await this.stopQueue(index);
  }

  resume(): Promise<void> {
    return this.#lasting(() => this.#resume());
  }

  async #resume(): Promise<void> {
    for (const [index, { base, running }] of this.#queues) {
      if (running) continue;
      await this.#peer.command(REQUEST.SET_VRING_BASE, payloads.encodeVringState({ index, num: base }));
    }
    await this.start();
  }

  async saveState(): Promise<Uint8Array> {
    await this.#peer.greet();
    return this.#states.save();
  }

  async loadState(state: Uint8Array): Promise<void> {
    await this.#peer.greet();
    await this.#states.load(state);
  }

  async startLog(): Promise<void> {
    await this.#peer.greet();
    if (this.#log !== undefined) return;
    if (!this.#peer.has(PROTOCOL_F.LOG_SHMFD) || (this.#peer.features & VHOST_F_LOG_ALL) === 0n) {
      throw new TransportError('REFUSED', 'the back-end keeps no log of what it writes (LOG_SHMFD)');
    }
    const log = new DirtyPages(this.#os, GUEST_START + this.#mapping.size);
    try {
      await sayLogBase(this.#peer, log);
    } catch (error) {
      log.close();
      throw error;
    }
    this.#log = log;
    await this.#sayLog();
  }

  async stopLog(): Promise<void> {
    const log = this.#log;
    if (log === undefined) return;
    this.#log = undefined;
    try {
      await this.#sayLog();
    } finally {
      log.close();
    }
  }

  takeDirtyPages(): GuestAddress[] {
    return this.#log?.take() ?? [];
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#states.close();
    this.#log?.close();
    this.#log = undefined;
    this.#failed = undefined;
    this.#stayAway();
    this.#dropInflight();
    this.#peer.close();
    for (const index of [...this.#queues.keys()]) this.#closeQueue(index);
    this.#shared.close();
    this.memory.clear();
    this.#mapping.release();
    this.#os.closeFd(this.#memoryFd);
  }

  /** @param channel - owned from now on. */
  #meet(channel: Channel): BackendPeer {
    const peer: BackendPeer = new BackendPeer(channel, {
      os: this.#os,
      clock: this.#clock,
      timeout: this.#timeout * 1e6,
      inband: this.#inband,
      news: {
        configChanged: () => {
          this.#configGeneration += 1;
          this.#configChanged();
        },
        called: (index) => this.#queues.get(index)?.interrupt(),
        broke: (index) => this.#broke(index),
        translate: (message) => this.#translate(peer, message),
        // One that was left has no say in it.
        mapShared: (mapping, fd) => {
          if (this.#isPresent(peer)) return this.#shared.map(mapping, fd);
          this.#os.closeFd(fd);
          return false;
        },
        unmapShared: (mapping) => this.#isPresent(peer) && this.#shared.unmap(mapping),
      },
      failed: (error) => {
        // One that is lost before it is ours is tried again.
        if (peer === this.#peer) this.#lost(error);
      },
    });
    return peer;
  }

  #isPresent(peer: BackendPeer): boolean {
    return !this.#closed && (this.#joining ?? this.#peer) === peer;
  }

  #lost(error: TransportError): void {
    const dial = this.#dial;
    if (error.code !== 'LOST' || !this.#started || this.#window === 0 || dial === undefined) {
      this.#fail(error);
      return;
    }
    const away = new Persistence(this.#clock);
    this.#away = away;
    const back = away.run(() => this.#join(dial()), this.#window);
    this.#back = back.then(
      () => {
        this.#away = undefined;
        this.#back = undefined;
        // The last one may have died between an answer and its interrupt.
        for (const queue of this.#queues.values()) queue.interrupt();
      },
      (reason: Error) => {
        this.#away = undefined;
        this.#back = undefined;
        if (!away.stopped) this.#fail(asTransportError(reason));
      },
    );
  }

  /** Does not reconnect: there is nothing to go on with. */
  #stayAway(): void {
    this.#started = false;
    this.#away?.stop();
    this.#joining?.close();
  }

  /** Goes on with the next back-end where the last one was. */
  async #join(channel: Channel): Promise<void> {
    const peer = this.#meet(channel);
    this.#joining = peer;
    try {
      await peer.greet();
      checkInflight(peer);
      const missing = this.#features & ~peer.features;
      if (missing !== 0n) {
        const text = `the next back-end does not offer the features 0x${missing.toString(16)}`;
        throw new TransportError('REFUSED', text);
      }
      const status = async (bits: bigint): Promise<void> => {
        if (peer.has(PROTOCOL_F.STATUS)) await peer.command(REQUEST.SET_STATUS, payloads.encodeU64(bits));
      };
      this.#shared.meet(peer.sharedMemory);
      this.#shared.clear();
      if (this.#log !== undefined) await sayLogBase(peer, this.#log);
      await status(ACKNOWLEDGE_DRIVER);
      await this.#sayFeatures(peer);
      await status(ACKNOWLEDGE_DRIVER | FEATURES_OK);
      await this.#sayMemory(peer);
      await this.#inflight!.give(peer);
      for (const [index, queue] of this.#queues) {
        await this.#sayQueue(peer, index, queue, queue.running ? this.#baseOf(queue) : queue.base);
      }
      for (const [index, queue] of this.#queues) {
        if (queue.running) await this.#sayStarted(peer, index, queue);
      }
      await this.#sayReady(peer);
      await peer.settle();
      peer.checkAlive();
      if (!this.#started) throw new TransportError('LOST', 'the front-end was reset');
    } catch (error) {
      peer.close();
      throw error;
    }
    this.#joining = undefined;
    this.#states.close();
    this.#peer.close();
    this.#peer = peer;
    this.#states = new DeviceStates(this.#os, peer);
    for (const queue of this.#queues.values()) kick(queue);
  }

  /** Where a queue goes on, as far as its ring tells: its inflight region knows better. */
  #baseOf({ ring, base }: Queue): number {
    if ((this.#features & VIRTIO_F_RING_PACKED) !== 0n) return base;
    return this.memory.view(ring.deviceArea, 4).load16(VIRTQ_USED.idx);
  }

  /** Waits until there is a back-end, and does it again with the next one when this one is lost meanwhile. */
  async #lasting<T>(act: () => Promise<T>): Promise<T> {
    for (;;) {
      if (this.#back !== undefined) await this.#back;
      try {
        return await act();
      } catch (error) {
        if (this.#back === undefined) throw error;
      }
    }
  }

  /** Asks for a region, if it is of use, once for each life of the device. */
  async #keepInflight(): Promise<void> {
    if (this.#window === 0 || this.#inflight !== undefined) return;
    checkInflight(this.#peer);
    const queues = this.#peer.queueCount ?? Math.max(...this.#queues.keys()) + 1;
    const buffer = await InflightBuffer.ask(this.#peer, this.#os, queues, this.#queueSize);
    if (this.#closed) {
      buffer.close();
      throw new TransportError('LOST', 'the front-end was closed');
    }
    this.#inflight = buffer;
    await buffer.give(this.#peer);
  }

  #dropInflight(): void {
    this.#inflight?.close();
    this.#inflight = undefined;
  }

  async #sayQueue(peer: BackendPeer, index: number, queue: Queue, base: number): Promise<void> {
    const { ring } = queue;
    await peer.command(REQUEST.SET_VRING_NUM, payloads.encodeVringState({ index, num: ring.size }));
    await peer.command(REQUEST.SET_VRING_BASE, payloads.encodeVringState({ index, num: base }));
    await this.#sayAddresses(peer, index, ring);
    if (queue.events === undefined) return;
    const which = payloads.encodeU64(BigInt(index));
    await peer.command(REQUEST.SET_VRING_CALL, which, [queue.events.call.fd]);
    await peer.command(REQUEST.SET_VRING_ERR, which, [queue.events.err.fd]);
  }

  async #sayStarted(peer: BackendPeer, index: number, { events }: Queue): Promise<void> {
    if (events === undefined) {
      await peer.command(REQUEST.VRING_KICK, payloads.encodeVringState({ index, num: 0 }));
    } else {
      await peer.command(REQUEST.SET_VRING_KICK, payloads.encodeU64(BigInt(index)), [events.kick.fd]);
    }
    if ((peer.features & F_PROTOCOL_FEATURES) !== 0n) {
      await peer.command(REQUEST.SET_VRING_ENABLE, payloads.encodeVringState({ index, num: 1 }));
    }
  }

  async #sayReady(peer: BackendPeer): Promise<void> {
    if (!peer.has(PROTOCOL_F.STATUS)) return;
    const status = ACKNOWLEDGE_DRIVER | FEATURES_OK | DRIVER_OK;
    await peer.command(REQUEST.SET_STATUS, payloads.encodeU64(status));
  }

  async #shareMemory(): Promise<void> {
    // One region, which such a back-end has already.
    if (this.#hasMemory && this.#peer.has(PROTOCOL_F.CONFIGURE_MEM_SLOTS)) return;
    await this.#sayMemory(this.#peer);
    this.#hasMemory = true;
  }

  async #sayMemory(peer: BackendPeer): Promise<void> {
    const region = {
      guestAddress: GUEST_START,
      size: this.#mapping.size,
      userAddress: userStart(peer),
      mmapOffset: 0,
    };
    if (!peer.has(PROTOCOL_F.CONFIGURE_MEM_SLOTS)) {
      await peer.command(REQUEST.SET_MEM_TABLE, payloads.encodeRegions([region]), [this.#memoryFd]);
    } else {
      await peer.command(REQUEST.ADD_MEM_REG, payloads.encodeRegion(region), [this.#memoryFd]);
    }
  }

  async #sayFeatures(peer: BackendPeer): Promise<void> {
    const log = this.#log === undefined ? 0n : VHOST_F_LOG_ALL;
    const bits = this.#features | log | (peer.features & F_PROTOCOL_FEATURES);
    await peer.command(REQUEST.SET_FEATURES, payloads.encodeU64(bits));
  }

  async #sayAddresses(peer: BackendPeer, index: number, ring: RingPlace): Promise<void> {
    const user = (address: GuestAddress): FrontendAddress =>
      (this.#translates ? address : address - GUEST_START + userStart(peer)) as FrontendAddress;
    const addresses = {
      index,
      flags: this.#log === undefined ? 0 : VHOST_VRING_F_LOG,
      descriptor: user(ring.descriptorArea),
      available: user(ring.driverArea),
      used: user(ring.deviceArea),
      log: ring.deviceArea,
    };
    await peer.command(REQUEST.SET_VRING_ADDR, payloads.encodeVringAddress(addresses));
  }

  /** That all of it is logged, or no longer. */
  async #sayLog(): Promise<void> {
    await this.#sayFeatures(this.#peer);
    for (const [index, { ring }] of this.#queues) await this.#sayAddresses(this.#peer, index, ring);
    await this.#peer.settle();
  }

  /** A back-end does not know an address. One whose driver did not accept the feature is told nothing. */
  async #translate(peer: BackendPeer, miss: IotlbMessage): Promise<boolean> {
    const update = this.#translates ? this.#iommu.updateFor(miss, userStart(peer)) : undefined;
    if (update === undefined) return false;
    await peer.command(REQUEST.IOTLB_MSG, update);
    return true;
  }

  /** Whether the driver's addresses are translated for the back-end. */
  get #translates(): boolean {
    return (this.#features & VIRTIO_F_ACCESS_PLATFORM) !== 0n;
  }

  #checkConfig(offset: number, length: number): void {
    if (!(offset >= 0 && length >= 0 && offset + length <= MAX_CONFIG_SIZE)) {
      throw new RangeError(
        `${length} bytes at ${offset} are not in the ${MAX_CONFIG_SIZE} that vhost-user can reach`,
      );
    }
    if (!this.#peer.has(PROTOCOL_F.CONFIG)) {
      throw new TransportError('REFUSED', 'the back-end has no access to the configuration space');
    }
  }

  #closeQueue(index: number): void {
    const queue = this.#queues.get(index);
    this.#queues.delete(index);
    for (const event of Object.values(queue?.events ?? {})) event.close();
  }

  #broke(index: number): void {
    if (!this.#queues.has(index)) return;
    this.#fail(new TransportError('NEEDS_RESET', `the back-end says that queue ${index} is broken`));
  }

  /** The device is lost, or needs a reset: its driver hears of the first of the two until a reset. */
  #fail(error: TransportError): void {
    const first = this.#failure === undefined;
    this.#failure = error;
    if (first) this.#failed?.(error);
  }
}

function checkInflight(peer: BackendPeer): void {
  if (peer.has(PROTOCOL_F.INFLIGHT_SHMFD)) return;
  const text = 'the back-end does not keep what is in flight (INFLIGHT_SHMFD), and can not be reconnected to';
  throw new TransportError('REFUSED', text);
}

async function sayLogBase(peer: BackendPeer, log: DirtyPages): Promise<void> {
  const request = payloads.encodeLog(log.description);
  if ((await peer.askU64(REQUEST.SET_LOG_BASE, request, [log.fd])) !== 0n) {
    throw new TransportError('REFUSED', 'the back-end refused SET_LOG_BASE');
  }
}

/** @param reconnect - ms, or whether at all. @returns ns. */
function windowOf(reconnect: boolean | number): number {
  if (typeof reconnect === 'boolean') return reconnect ? Number.POSITIVE_INFINITY : 0;
  if (!(reconnect > 0))
    throw new RangeError(`a back-end that may be gone for ${reconnect} ms: say some, or true`);
  return reconnect * 1e6;
}

function asTransportError(error: Error): TransportError {
  return error instanceof TransportError ? error : new TransportError('LOST', error.message);
}

function kick({ events, inband }: Queue): void {
  if (events !== undefined) events.kick.signal();
  else inband?.kick();
}

/** Where our memory is, as the back-end is told. */
function userStart(peer: BackendPeer): FrontendAddress {
  return peer.has(PROTOCOL_F.GPA_ADDRESSES) ? (GUEST_START as number as FrontendAddress) : USER_START;
}
