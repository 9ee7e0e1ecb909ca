import type { GuestAddress } from '../../../memory/address.js';
import { GuestMemory } from '../../../memory/guest-memory.js';
import type { Clock } from '../../../virtio/clock.js';
import { type RingPlace, TransportError } from '../../../virtio/driver-transport.js';
import { ALL_RING_FEATURES, VIRTIO_F_ACCESS_PLATFORM } from '../../../virtio/features.js';
import type { DriverSharedMemory } from '../../../virtio/shared-memory.js';
import { VIRTQ_USED } from '../../../virtqueue/split/layout.js';
import type { Channel, Mapping, Os } from '../../ports.js';
import { VHOST_USER_FEATURES } from '../../transport-features.js';
import type { IotlbMessage } from '../iotlb-message.js';
import { F_PROTOCOL_FEATURES, PROTOCOL_F, REQUEST, VHOST_F_LOG_ALL } from '../messages.js';
import * as payloads from '../payloads.js';
import { readConfig, writeConfig } from './config-access.js';
import { DeviceStates } from './device-states.js';
import { DirtyPages } from './dirty-pages.js';
import { type FrontendQueue, kick } from './frontend-queue.js';
import { InflightBuffer } from './inflight-buffer.js';
import { FrontendIommu } from './iommu.js';
import { BackendPeer } from './peer.js';
import { Reconnection } from './reconnection.js';
import { ACKNOWLEDGE_DRIVER, DeviceSetup, FEATURES_OK, GUEST_START, userStart } from './setup.js';
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

/** What a back-end may offer that no front-end can do. */
const UNSAYABLE = ALL_RING_FEATURES & ~VHOST_USER_FEATURES.all;

/** Of the device status (VIRTIO 1.3 §2.1). */
const FAILED = 0x80n;

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
  readonly #reconnection: Reconnection;
  #peer: BackendPeer;
  readonly #queueSize: number;
  readonly #queues = new Map<number, FrontendQueue>();
  readonly #iommu: FrontendIommu;
  readonly #shared: FrontendSharedMemory;
  #hasMemory = false;
  #configGeneration = 0;
  readonly #setup: DeviceSetup;
  #states: DeviceStates;
  /** The next back-end, that is not ours yet. */
  #joining: BackendPeer | undefined;
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
    this.#queueSize = queueSize;
    this.#timeout = timeout;
    this.#inband = inband;
    this.#reconnection = new Reconnection(clock, dial, reconnect);
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
    this.#setup = new DeviceSetup(this.#memoryFd, this.#mapping.size);
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
    this.#setup.features = features;
    await this.#setup.sayFeatures(this.#peer);
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
    const queue: FrontendQueue = { events, inband, ring, interrupt, base, running: false };
    this.#queues.set(index, queue);
    events?.call.watch(interrupt);
    events?.err.watch(() => this.#broke(index));
    await this.#setup.sayQueue(this.#peer, index, queue, base);
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
      await this.#setup.sayStarted(this.#peer, index, queue);
    }
    await this.#setup.sayReady(this.#peer);
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
    queue.base = this.#setup.packed ? num : num & 0xffff;
    return queue.base;
  }

  /** vhost-user has none: it counts the changes that the device told. Each `readConfig` is one message, so never torn. */
  async configGeneration(): Promise<number> {
    if (this.#reconnection.over !== undefined) await this.#reconnection.over;
    this.#peer.checkAlive();
    return this.#configGeneration;
  }

  readConfig(offset: number, length: number): Promise<Uint8Array> {
    return this.#reconnection.lasting(() => readConfig(this.#peer, offset, length));
  }

  writeConfig(offset: number, bytes: Uint8Array): Promise<void> {
    return this.#reconnection.lasting(() => writeConfig(this.#peer, offset, bytes));
  }

  async invalidate(address?: GuestAddress, length?: number): Promise<void> {
    if (!this.#setup.translates)
      throw new TransportError('REFUSED', 'the back-end is told of no translations');
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
    return this.#reconnection.lasting(() => this.#resume());
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
    if (this.#setup.log !== undefined) return;
    if (!this.#peer.has(PROTOCOL_F.LOG_SHMFD) || (this.#peer.features & VHOST_F_LOG_ALL) === 0n) {
      throw new TransportError('REFUSED', 'the back-end keeps no log of what it writes (LOG_SHMFD)');
    }
    const log = new DirtyPages(this.#os, GUEST_START + this.#mapping.size);
    try {
      await this.#setup.sayLogBase(this.#peer, log);
    } catch (error) {
      log.close();
      throw error;
    }
    this.#setup.log = log;
    await this.#setup.sayLog(this.#peer, this.#queues);
  }

  async stopLog(): Promise<void> {
    const log = this.#setup.log;
    if (log === undefined) return;
    this.#setup.log = undefined;
    try {
      await this.#setup.sayLog(this.#peer, this.#queues);
    } finally {
      log.close();
    }
  }

  takeDirtyPages(): GuestAddress[] {
    return this.#setup.log?.take() ?? [];
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#states.close();
    this.#setup.log?.close();
    this.#setup.log = undefined;
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
    const goesOn =
      error.code === 'LOST' &&
      this.#started &&
      this.#reconnection.search((channel) => this.#join(channel), {
        found: () => {
          // The last one may have died between an answer and its interrupt.
          for (const queue of this.#queues.values()) queue.interrupt();
        },
        failed: (reason) => this.#fail(reason),
      });
    if (!goesOn) this.#fail(error);
  }

  /** Does not reconnect: there is nothing to go on with. */
  #stayAway(): void {
    this.#started = false;
    this.#reconnection.stop();
    this.#joining?.close();
  }

  /** Goes on with the next back-end where the last one was. */
  async #join(channel: Channel): Promise<void> {
    const peer = this.#meet(channel);
    this.#joining = peer;
    try {
      await peer.greet();
      checkInflight(peer);
      const missing = this.#setup.features & ~peer.features;
      if (missing !== 0n) {
        const text = `the next back-end does not offer the features 0x${missing.toString(16)}`;
        throw new TransportError('REFUSED', text);
      }
      const status = async (bits: bigint): Promise<void> => {
        if (peer.has(PROTOCOL_F.STATUS)) await peer.command(REQUEST.SET_STATUS, payloads.encodeU64(bits));
      };
      this.#shared.meet(peer.sharedMemory);
      this.#shared.clear();
      if (this.#setup.log !== undefined) await this.#setup.sayLogBase(peer, this.#setup.log);
      await status(ACKNOWLEDGE_DRIVER);
      await this.#setup.sayFeatures(peer);
      await status(ACKNOWLEDGE_DRIVER | FEATURES_OK);
      await this.#setup.sayMemory(peer);
      await this.#inflight!.give(peer);
      for (const [index, queue] of this.#queues) {
        await this.#setup.sayQueue(peer, index, queue, queue.running ? this.#baseOf(queue) : queue.base);
      }
      for (const [index, queue] of this.#queues) {
        if (queue.running) await this.#setup.sayStarted(peer, index, queue);
      }
      await this.#setup.sayReady(peer);
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
  #baseOf({ ring, base }: FrontendQueue): number {
    if (this.#setup.packed) return base;
    return this.memory.view(ring.deviceArea, 4).load16(VIRTQ_USED.idx);
  }

  /** Asks for a region, if it is of use, once for each life of the device. */
  async #keepInflight(): Promise<void> {
    if (!this.#reconnection.wanted || this.#inflight !== undefined) return;
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

  async #shareMemory(): Promise<void> {
    // One region, which such a back-end has already.
    if (this.#hasMemory && this.#peer.has(PROTOCOL_F.CONFIGURE_MEM_SLOTS)) return;
    await this.#setup.sayMemory(this.#peer);
    this.#hasMemory = true;
  }

  /** A back-end does not know an address. One whose driver did not accept the feature is told nothing. */
  async #translate(peer: BackendPeer, miss: IotlbMessage): Promise<boolean> {
    const update = this.#setup.translates ? this.#iommu.updateFor(miss, userStart(peer)) : undefined;
    if (update === undefined) return false;
    await peer.command(REQUEST.IOTLB_MSG, update);
    return true;
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
