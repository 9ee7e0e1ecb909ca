import type { VirtioDevice } from '../../../virtio/device.js';
import { StateError } from '../../../virtio/saved-state.js';
import type { Notes } from '../../keep.js';
import type { EventPort } from '../../ports.js';
import type { Environment } from '../../session.js';
import { checkDescriptors, checkRequest, type Message } from '../codec.js';
import { decodeIotlb } from '../iotlb-message.js';
import {
  BACKEND_REQUEST,
  FAILURE,
  PROTOCOL_F,
  REQUEST,
  STATE_DIRECTION,
  STATE_NOFD,
  STATE_PHASE,
  VRING_FD,
} from '../messages.js';
import * as payloads from '../payloads.js';
import { ProtocolError } from '../protocol-error.js';
import { REFUSED } from '../refused.js';
import { encodeSharedConfig } from '../shared-memory.js';
import { BackendChannel } from './channel.js';
import { MAX_MEM_SLOTS } from './memory-table.js';
import { ProtocolFeatures } from './protocol-features.js';
import { Refusal } from './refusal.js';
import { SessionRecord } from './session-record.js';
import { SharedMemoryRegions } from './shared-memory.js';
import { StateTransfer } from './state-transfer.js';
import { VhostDevice } from './vhost-device.js';

/** VIRTIO 1.3 §2.1: the driver's features were accepted. */
const VIRTIO_CONFIG_S_FEATURES_OK = 8n;
/** §2.1.2: it broke a ring. Not to be set by a driver. */
const VIRTIO_CONFIG_S_NEEDS_RESET = 0x40n;

const RUNNING = "the guest runs: stop it first (QEMU: 'stop'), and save it then";

/** The payload of a reply, and a descriptor that goes with it. */
export type Reply = Uint8Array | { readonly payload: Uint8Array; readonly fd: number };

/** Carries out what one front-end asks for: what each message says, and to whom. */
export class FrontendRequests {
  readonly #environment: Environment;
  readonly #warn: (line: string) => void;
  readonly #device: VhostDevice;
  readonly #shared: SharedMemoryRegions;
  readonly #transfer: StateTransfer;
  readonly #features: ProtocolFeatures;
  readonly #record: SessionRecord;
  #backendChannel: BackendChannel | undefined;
  #status = 0n;

  constructor(device: VirtioDevice, environment: Environment, warn: (line: string) => void) {
    this.#environment = environment;
    this.#warn = warn;
    this.#transfer = new StateTransfer(environment, warn);
    const { os, keep } = environment;
    this.#shared = new SharedMemoryRegions(
      device.sharedMemory ?? [],
      {
        os,
        ask: (...message) =>
          this.#features.has(PROTOCOL_F.SHMEM) && (this.#backendChannel?.command(...message) ?? false),
        note: (notes) => keep?.settle(0, notes),
        warn,
      },
      keep?.kept,
    );
    this.#device = new VhostDevice(
      device,
      environment,
      {
        configChanged: () => {
          environment.keep?.settle(0, { put: this.#record.configNotes() });
          this.#backendChannel?.configChanged();
        },
        serving: () => {
          this.#showShared();
          this.#backendChannel?.flush();
        },
        wasReset: () => {
          this.#backendChannel?.dropCommands();
          this.#shared.forget();
        },
        called: (ring) => {
          this.#inbandChannel?.called(ring);
          return this.#inbandChannel !== undefined;
        },
        broke: (ring) => this.#inbandChannel?.broke(ring),
        miss: (payload, answered) =>
          this.#backendChannel?.ask(BACKEND_REQUEST.IOTLB_MSG, payload, answered) ?? false,
        warn,
      },
      this.#shared.regions,
    );
    this.#features = new ProtocolFeatures({
      config: this.#device.hasConfig,
      sharedMemory: this.#shared.regions.size > 0,
      inband: environment.inband === true,
    });
    this.#record = new SessionRecord(this.#device);
    if (keep !== undefined) this.#record.restore(keep.kept, (message) => this.#tellAgain(message), warn);
  }

  /** @throws as `Session.replace` does. */
  replace(device: VirtioDevice): void {
    this.#device.replace(device);
  }

  /** @see Session.portray */
  portray(): Uint8Array {
    return this.#device.portray();
  }

  /** @see VhostDevice.yield */
  yield(done: (result: Uint8Array | Error) => void): void {
    this.#device.yield(done);
  }

  /** @see Session.leave */
  leave(): void {
    this.#device.leave();
  }

  /** @throws as `Session.save` rejects. Its guest stands still when the rings do, and who says so otherwise is mistaken. */
  save(): Uint8Array {
    if (!this.#device.suspended) throw new StateError(RUNNING);
    return this.#device.save();
  }

  /** Lets the device go, and everything that the front-end handed over. */
  close(): void {
    this.#transfer.close();
    this.#device.close();
    this.#backendChannel?.close();
    this.#shared.close();
  }

  /**
   * @param later - gets the payload of the reply when that was `later`.
   * @returns the payload of the reply; `undefined` for a request that is acknowledged only when its sender wants it.
   * @throws ProtocolError when it is malformed; anything else when it can't be carried out.
   */
  carryOut(message: Message, later: (reply: Uint8Array) => void): Reply | 'later' | undefined {
    checkRequest(message);
    const { request, payload } = message;
    const device = this.#device;
    switch (request) {
      case REQUEST.GET_FEATURES:
        return payloads.encodeU64(device.offered);
      case REQUEST.SET_FEATURES:
        device.accept(payload.getBigUint64(0, true));
        return;
      case REQUEST.GET_PROTOCOL_FEATURES:
        return payloads.encodeU64(this.#features.offered);
      case REQUEST.SET_PROTOCOL_FEATURES:
        this.#setProtocolFeatures(payload.getBigUint64(0, true));
        return;
      case REQUEST.GET_QUEUE_NUM:
        return payloads.encodeU64(BigInt(device.queueCount));
      case REQUEST.GET_MAX_MEM_SLOTS:
        return payloads.encodeU64(BigInt(MAX_MEM_SLOTS));
      case REQUEST.SET_OWNER:
        return;
      case REQUEST.RESET_OWNER:
        device.disable();
        return;
      case REQUEST.RESET_DEVICE:
        this.#reset(false);
        return;
      case REQUEST.SET_STATUS:
        this.#setStatus(payload.getBigUint64(0, true));
        return;
      case REQUEST.GET_STATUS:
        return payloads.encodeU64(
          device.needsReset ? this.#status | VIRTIO_CONFIG_S_NEEDS_RESET : this.#status,
        );
      case REQUEST.SET_MEM_TABLE:
        this.#setMemTable(message);
        return;
      case REQUEST.ADD_MEM_REG:
        checkDescriptors(message, 1);
        device.table.add(payloads.decodeRegion(payload), message.fds.pop()!);
        device.memoryChanged();
        return;
      case REQUEST.REM_MEM_REG:
        device.table.remove(payloads.decodeRegion(payload));
        device.memoryChanged();
        return;
      case REQUEST.IOTLB_MSG:
        device.translate(decodeIotlb(payload));
        return payloads.encodeU64(0n);
      case REQUEST.SET_LOG_BASE:
        this.#setLogBase(message);
        return;
      case REQUEST.SET_LOG_FD:
        checkDescriptors(message, 1);
        device.logging.setEvent(this.#environment.os.adoptEvent(message.fds.pop()!));
        return;
      case REQUEST.SET_VRING_NUM: {
        const { index, num } = payloads.decodeVringState(payload);
        device.setSize(index, num);
        return;
      }
      case REQUEST.SET_VRING_ADDR:
        device.setAddresses(payloads.decodeVringAddress(payload));
        return;
      case REQUEST.SET_VRING_BASE: {
        const { index, num } = payloads.decodeVringState(payload);
        device.setBase(index, num);
        return;
      }
      case REQUEST.GET_VRING_BASE:
        return this.#getVringBase(payloads.decodeVringState(payload).index, true, later);
      case REQUEST.GET_VRING_BASE_SKIP_DRAIN:
        this.#features.expect('GET_VRING_BASE_SKIP_DRAIN');
        return this.#getVringBase(payloads.decodeVringState(payload).index, false, later);
      case REQUEST.GET_INFLIGHT_FD:
        return this.#getInflight(payload);
      case REQUEST.SET_INFLIGHT_FD:
        this.#features.expect('INFLIGHT_SHMFD');
        checkDescriptors(message, 1);
        device.setInflight(payloads.decodeInflight(payload), message.fds.pop()!);
        return;
      case REQUEST.SET_VRING_ENABLE: {
        const { index, num } = payloads.decodeVringState(payload);
        device.enable(index, num !== 0);
        return;
      }
      case REQUEST.SET_VRING_KICK:
        device.start(...this.#vringEvent(message));
        return;
      case REQUEST.SET_VRING_CALL:
        device.setCall(...this.#vringEvent(message));
        return;
      case REQUEST.SET_VRING_ERR:
        device.setErr(...this.#vringEvent(message));
        return;
      case REQUEST.VRING_KICK:
        this.#features.expect('INBAND_NOTIFICATIONS');
        device.kick(payloads.decodeVringState(payload).index);
        return;
      case REQUEST.SET_BACKEND_REQ_FD:
        this.#setBackendChannel(message);
        return;
      case REQUEST.GET_SHMEM_CONFIG:
        return encodeSharedConfig(this.#shared.sizes);
      case REQUEST.GET_CONFIG:
        return this.#getConfig(payload);
      case REQUEST.SET_CONFIG:
        this.#setConfig(payload);
        return;
      case REQUEST.SET_DEVICE_STATE_FD:
        this.#setDeviceState(message);
        return payloads.encodeU64(STATE_NOFD);
      case REQUEST.CHECK_DEVICE_STATE:
        return this.#checkDeviceState(later);
      default:
        throw new Refusal(REFUSED.get(request) ?? 'there is no such message');
    }
  }

  /**
   * What is to be kept of a request.
   *
   * @param reply - what it was answered with; without one it was carried out, unless it was refused.
   */
  notes(message: Message, reply: Reply | undefined, refused: boolean): Notes {
    return this.#record.notes(message, reply instanceof Uint8Array ? reply : undefined, refused);
  }

  #tellAgain(message: Message): void {
    try {
      this.carryOut(message, () => {});
    } catch {
      // What is refused now was refused before, and said.
    } finally {
      for (const fd of message.fds) this.#environment.os.closeFd(fd);
    }
  }

  /** The channel for what takes the place of events, if that was negotiated. */
  get #inbandChannel(): BackendChannel | undefined {
    return this.#features.has(PROTOCOL_F.INBAND_NOTIFICATIONS) ? this.#backendChannel : undefined;
  }

  #setProtocolFeatures(features: bigint): void {
    this.#features.accept(features);
    this.#device.toldOfResets = (features & (PROTOCOL_F.RESET_DEVICE | PROTOCOL_F.STATUS)) !== 0n;
  }

  /**
   * QEMU's generic device sets FEATURES_OK and nothing else, so neither DRIVER_OK nor any other bit starts or stops
   * anything here; only 0 has a meaning, which every front-end that sends it agrees on.
   */
  #setStatus(status: bigint): void {
    this.#environment.monitor?.status?.(Number(status & 0xffn));
    if (status === 0n) this.#reset(true);
    this.#status = status & 0xffn & ~VIRTIO_CONFIG_S_NEEDS_RESET;
    if (!this.#device.featuresOk) this.#status &= ~VIRTIO_CONFIG_S_FEATURES_OK;
  }

  #reset(stopped: boolean): void {
    this.#device.reset(stopped);
    if (!this.#device.resetPending) this.#backendChannel?.forget();
    this.#status = 0n;
  }

  #setMemTable(message: Message): void {
    const regions = payloads.decodeRegions(message.payload);
    if (regions === undefined) {
      throw new ProtocolError('SIZE', `SET_MEM_TABLE: has not room for the regions that it says it has`);
    }
    checkDescriptors(message, regions.length);
    this.#device.table.replace(regions, message.fds.splice(0));
    this.#device.memoryChanged();
  }

  #setLogBase(message: Message): void {
    const log = payloads.decodeLog(message.payload);
    if (log === undefined || !this.#features.has(PROTOCOL_F.LOG_SHMFD)) {
      throw new Refusal('a log takes LOG_SHMFD: one at an address of the front-end can not be reached');
    }
    checkDescriptors(message, 1);
    this.#device.setLog(log, message.fds.pop()!);
  }

  /** A region of no bytes says that there is none. */
  #getInflight(payload: DataView): Reply {
    const wanted = payloads.decodeInflight(payload);
    const { byteLength } = payload;
    try {
      this.#features.expect('INFLIGHT_SHMFD');
      const { description, fd } = this.#device.makeInflight(wanted);
      return { payload: payloads.encodeInflight(description, byteLength), fd };
    } catch (error) {
      this.#warn(`GET_INFLIGHT_FD is refused: ${(error as Error).message}`);
      return payloads.encodeInflight({ ...wanted, mmapSize: 0, mmapOffset: 0 }, byteLength);
    }
  }

  #getVringBase(index: number, drain: boolean, later: (reply: Uint8Array) => void): Uint8Array | 'later' {
    if (index >= this.#device.queueCount) {
      // A front-end with more rings than the device: one that can't run has stopped where it began.
      this.#warn(`GET_VRING_BASE: there is no ring ${index}`);
      return payloads.encodeVringState({ index, num: 0 });
    }
    return answered(later, (answer) =>
      this.#device.stop(index, drain, (base) => answer(payloads.encodeVringState({ index, num: base }))),
    );
  }

  /** @returns the ring, and what takes its event over: to be called once the ring is known to be there. */
  #vringEvent(message: Message): [index: number, takeEvent: () => EventPort | undefined] {
    const value = Number(message.payload.getBigUint64(0, true) & 0xffffn);
    const none = (value & VRING_FD.NOFD) !== 0;
    checkDescriptors(message, none ? 0 : 1);
    const takeEvent = (): EventPort | undefined =>
      none ? undefined : this.#environment.os.adoptEvent(message.fds.pop()!);
    return [value & VRING_FD.INDEX_MASK, takeEvent];
  }

  #setBackendChannel(message: Message): void {
    checkDescriptors(message, 1);
    const { os, keep } = this.#environment;
    const channel = os.adoptChannel(message.fds.pop()!, keep !== undefined);
    this.#backendChannel?.close();
    const acknowledged = this.#features.has(PROTOCOL_F.REPLY_ACK);
    this.#backendChannel = new BackendChannel(channel, os, acknowledged, () => this.#device.serving);
    if (this.#device.serving) this.#showShared();
  }

  #showShared(): void {
    if (this.#backendChannel !== undefined && this.#features.has(PROTOCOL_F.SHMEM)) this.#shared.show();
  }

  #setDeviceState(message: Message): void {
    const { direction, phase } = payloads.decodeDeviceState(message.payload);
    checkDescriptors(message, 1);
    this.#features.expect('DEVICE_STATE');
    if (this.#shared.regions.size > 0) throw new Refusal('the device has shared memory, which is not moved');
    if (direction > STATE_DIRECTION.LOAD) throw new Refusal(`direction ${direction} is unknown`);
    if (phase !== STATE_PHASE.STOPPED) throw new Refusal(`phase ${phase} is unknown`);
    const device = this.#device;
    if (direction === STATE_DIRECTION.SAVE) {
      const state = device.save();
      this.#transfer.save(state, message.fds.pop()!);
      return;
    }
    device.checkSuspended();
    this.#transfer.load(message.fds.pop()!, (bytes) => device.restore(bytes));
  }

  #checkDeviceState(later: (reply: Uint8Array) => void): Uint8Array | 'later' {
    return answered(later, (answer) =>
      this.#transfer.check((good) => answer(payloads.encodeU64(good ? 0n : FAILURE))),
    );
  }

  /** An error is told by an empty payload; otherwise it has the request's size. */
  #getConfig(payload: DataView): Uint8Array {
    const { offset, size, flags, bytes } = payloads.decodeConfig(payload);
    const read = size <= bytes.length ? this.#device.readConfig(offset, size) : undefined;
    if (read === undefined) {
      this.#warn(
        `GET_CONFIG: ${size} bytes at ${offset} are not there, or more than the message has room for`,
      );
      return new Uint8Array();
    }
    bytes.fill(0);
    bytes.set(read);
    return payloads.encodeConfig({ offset, size, flags, bytes });
  }

  #setConfig(payload: DataView): void {
    const { offset, size, flags, bytes } = payloads.decodeConfig(payload);
    if (size > bytes.length) throw new Refusal(`${size} bytes, and only ${bytes.length} came`);
    if (flags > 1) throw new Refusal(`flags ${flags} are unknown`);
    this.#device.writeConfig(offset, bytes.subarray(0, size));
  }
}

/** @param ask - calls back with the answer, now or later. @returns it, or that it comes later. */
function answered(
  later: (reply: Uint8Array) => void,
  ask: (answer: (reply: Uint8Array) => void) => void,
): Uint8Array | 'later' {
  let atOnce: Uint8Array | 'later' = 'later';
  let returned = false;
  ask((reply) => {
    if (returned) later(reply);
    else atOnce = reply;
  });
  returned = true;
  return atOnce;
}
