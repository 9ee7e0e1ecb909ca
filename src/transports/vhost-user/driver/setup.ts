import type { FrontendAddress, GuestAddress } from '../../../memory/address.js';
import { type RingPlace, TransportError } from '../../../virtio/driver-transport.js';
import { VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_RING_PACKED } from '../../../virtio/features.js';
import { F_PROTOCOL_FEATURES, PROTOCOL_F, REQUEST, VHOST_F_LOG_ALL, VHOST_VRING_F_LOG } from '../messages.js';
import * as payloads from '../payloads.js';
import type { DirtyPages } from './dirty-pages.js';
import type { FrontendQueue } from './frontend-queue.js';
import type { BackendPeer } from './peer.js';

/** Where the memory is in an address space of ours that the back-end knows as the guest's. Not 0, and above 4 GiB, as most of a real guest's is. */
export const GUEST_START = 0x1_0000_0000 as GuestAddress;
/** Where it is in what the back-end takes for our own memory: any number will do, and one that is different shows who mixes them up. */
const USER_START = 0x7f00_0000_0000 as FrontendAddress;

/** The device status (VIRTIO 1.3 §2.1). */
export const ACKNOWLEDGE_DRIVER = 3n;
const DRIVER_OK = 4n;
export const FEATURES_OK = 8n;

/** What a back-end is told so that a device can work: the first one, and the next one that goes on where that was. */
export class DeviceSetup {
  /** What the driver accepted. */
  features = 0n;
  /** While what is written is logged. */
  log: DirtyPages | undefined;
  readonly #memoryFd: number;
  readonly #memorySize: number;

  constructor(memoryFd: number, memorySize: number) {
    this.#memoryFd = memoryFd;
    this.#memorySize = memorySize;
  }

  /** Whether the driver's addresses are translated for the back-end. */
  get translates(): boolean {
    return (this.features & VIRTIO_F_ACCESS_PLATFORM) !== 0n;
  }

  get packed(): boolean {
    return (this.features & VIRTIO_F_RING_PACKED) !== 0n;
  }

  async sayFeatures(peer: BackendPeer): Promise<void> {
    const log = this.log === undefined ? 0n : VHOST_F_LOG_ALL;
    const bits = this.features | log | (peer.features & F_PROTOCOL_FEATURES);
    await peer.command(REQUEST.SET_FEATURES, payloads.encodeU64(bits));
  }

  async sayMemory(peer: BackendPeer): Promise<void> {
    const region = {
      guestAddress: GUEST_START,
      size: this.#memorySize,
      userAddress: userStart(peer),
      mmapOffset: 0,
    };
    if (!peer.has(PROTOCOL_F.CONFIGURE_MEM_SLOTS)) {
      await peer.command(REQUEST.SET_MEM_TABLE, payloads.encodeRegions([region]), [this.#memoryFd]);
    } else {
      await peer.command(REQUEST.ADD_MEM_REG, payloads.encodeRegion(region), [this.#memoryFd]);
    }
  }

  async sayQueue(peer: BackendPeer, index: number, queue: FrontendQueue, base: number): Promise<void> {
    const { ring } = queue;
    await peer.command(REQUEST.SET_VRING_NUM, payloads.encodeVringState({ index, num: ring.size }));
    await peer.command(REQUEST.SET_VRING_BASE, payloads.encodeVringState({ index, num: base }));
    await this.#sayAddresses(peer, index, ring);
    if (queue.events === undefined) return;
    const which = payloads.encodeU64(BigInt(index));
    await peer.command(REQUEST.SET_VRING_CALL, which, [queue.events.call.fd]);
    await peer.command(REQUEST.SET_VRING_ERR, which, [queue.events.err.fd]);
  }

  async sayStarted(peer: BackendPeer, index: number, { events }: FrontendQueue): Promise<void> {
    if (events === undefined) {
      await peer.command(REQUEST.VRING_KICK, payloads.encodeVringState({ index, num: 0 }));
    } else {
      await peer.command(REQUEST.SET_VRING_KICK, payloads.encodeU64(BigInt(index)), [events.kick.fd]);
    }
    if ((peer.features & F_PROTOCOL_FEATURES) !== 0n) {
      await peer.command(REQUEST.SET_VRING_ENABLE, payloads.encodeVringState({ index, num: 1 }));
    }
  }

  async sayReady(peer: BackendPeer): Promise<void> {
    if (!peer.has(PROTOCOL_F.STATUS)) return;
    const status = ACKNOWLEDGE_DRIVER | FEATURES_OK | DRIVER_OK;
    await peer.command(REQUEST.SET_STATUS, payloads.encodeU64(status));
  }

  /** @throws TransportError `REFUSED` */
  async sayLogBase(peer: BackendPeer, log: DirtyPages): Promise<void> {
    const request = payloads.encodeLog(log.description);
    if ((await peer.askU64(REQUEST.SET_LOG_BASE, request, [log.fd])) !== 0n) {
      throw new TransportError('REFUSED', 'the back-end refused SET_LOG_BASE');
    }
  }

  /** That all of it is logged, or no longer. */
  async sayLog(peer: BackendPeer, queues: ReadonlyMap<number, FrontendQueue>): Promise<void> {
    await this.sayFeatures(peer);
    for (const [index, { ring }] of queues) await this.#sayAddresses(peer, index, ring);
    await peer.settle();
  }

  async #sayAddresses(peer: BackendPeer, index: number, ring: RingPlace): Promise<void> {
    const user = (address: GuestAddress): FrontendAddress =>
      (this.translates ? address : address - GUEST_START + userStart(peer)) as FrontendAddress;
    const addresses = {
      index,
      flags: this.log === undefined ? 0 : VHOST_VRING_F_LOG,
      descriptor: user(ring.descriptorArea),
      available: user(ring.driverArea),
      used: user(ring.deviceArea),
      log: ring.deviceArea,
    };
    await peer.command(REQUEST.SET_VRING_ADDR, payloads.encodeVringAddress(addresses));
  }
}

/** Where our memory is, as the back-end is told. */
export function userStart(peer: BackendPeer): FrontendAddress {
  return peer.has(PROTOCOL_F.GPA_ADDRESSES) ? (GUEST_START as number as FrontendAddress) : USER_START;
}
