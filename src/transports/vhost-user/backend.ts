import type { VirtioDevice } from '../../virtio/device.js';
import type { Channel, EventPort } from '../ports.js';
import type { Environment, Session, StartSession } from '../session.js';
import { BackendChannel } from './backend-channel.js';
import { checkDescriptors, checkRequest, Decoder, encodeMessage, type Message } from './codec.js';
import { MAX_MEM_SLOTS } from './memory-table.js';
import {
  ANSWERED_ELSEWHERE,
  FAILURE,
  FLAGS,
  PROTOCOL_F,
  REQUEST,
  requestName,
  VRING_FD,
} from './messages.js';
import * as payloads from './payloads.js';
import { ProtocolError } from './protocol-error.js';
import { Refusal } from './refusal.js';
import { VhostDevice } from './vhost-device.js';

/** What is offered is all there is: QEMU takes whatever bit it sees. */
const PROTOCOL_FEATURES = Object.values(PROTOCOL_F).reduce((all, bit) => all | bit, 0n);

/** VIRTIO 1.3 §2.1: the driver's features were accepted. */
const VIRTIO_CONFIG_S_FEATURES_OK = 8n;

/** Lines about what one front-end did wrong, so that a hostile one can't fill a disk. */
const MAX_WARNINGS = 100;

/** Serves a device to a vhost-user front-end, such as QEMU (docs/interop/vhost-user.rst). */
export const serveVhostUser: StartSession = (channel, device, environment, ended) =>
  new BackendSession(channel, device, environment, ended);

class BackendSession implements Session {
  readonly #channel: Channel;
  readonly #name: string;
  readonly #environment: Environment;
  readonly #ended: (error?: Error) => void;
  readonly #decoder = new Decoder();
  readonly #device: VhostDevice;
  #backendChannel: BackendChannel | undefined;
  #protocolFeatures = 0n;
  #status = 0n;
  /** A ring is stopping: what comes in meanwhile waits, because answers are given in order. */
  #waiting = false;
  #closed = false;
  #warnings = 0;

  constructor(
    channel: Channel,
    device: VirtioDevice,
    environment: Environment,
    ended: (error?: Error) => void,
  ) {
    this.#channel = channel;
    this.#name = device.name;
    this.#environment = environment;
    this.#ended = ended;
    this.#device = new VhostDevice(device, environment, {
      configChanged: () => this.#backendChannel?.configChanged(),
      serving: () => this.#backendChannel?.flush(),
    });
    channel.receive({
      received: (bytes, fds) => this.#received(bytes, fds),
      closed: (error) => this.#end(error),
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#device.close();
    this.#backendChannel?.close();
    this.#closeFds(this.#decoder.abandon());
    this.#channel.close();
  }

  #end(error?: Error): void {
    if (this.#closed) return;
    this.close();
    this.#ended(error);
  }

  #received(bytes: Uint8Array, fds: readonly number[]): void {
    if (this.#closed) {
      this.#closeFds(fds);
      return;
    }
    this.#guard(() => {
      this.#decoder.push(bytes, fds);
      this.#work();
    });
  }

  /** Nothing that a front-end sends leads to more than the end of its connection. */
  #guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#warn(`the connection ends: ${text(error)}`);
      this.#end(error as Error);
    }
  }

  /** Carries out what has come, as far as answers can be given. */
  #work(): void {
    while (!this.#waiting && !this.#closed) {
      const message = this.#decoder.next();
      if (message === undefined) return;
      try {
        this.#carryOut(message);
      } finally {
        this.#closeFds(message.fds);
      }
    }
  }

  #carryOut(message: Message): void {
    checkRequest(message);
    let reply: Uint8Array | 'later' | undefined;
    let ack = 0n;
    try {
      reply = this.#dispatch(message);
    } catch (error) {
      if (error instanceof ProtocolError) throw error;
      ack = FAILURE;
      this.#warn(`${requestName(message.request)} is refused: ${text(error)}`);
    }
    if (reply === 'later') return;
    if (reply !== undefined) this.#reply(message.request, reply);
    else if ((message.flags & FLAGS.NEED_REPLY) !== 0 || ANSWERED_ELSEWHERE.has(message.request)) {
      this.#reply(message.request, payloads.encodeU64(ack));
    }
  }

  /** @returns the payload to reply with; `undefined` for a message that is acknowledged only when its sender wants it. */
  #dispatch(message: Message): Uint8Array | 'later' | undefined {
    const { request, payload } = message;
    const device = this.#device;
    switch (request) {
      case REQUEST.GET_FEATURES:
        return payloads.encodeU64(device.offered);
      case REQUEST.SET_FEATURES:
        device.accept(payload.getBigUint64(0, true));
        return;
      case REQUEST.GET_PROTOCOL_FEATURES:
        return payloads.encodeU64(PROTOCOL_FEATURES);
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
        this.#reset();
        return;
      case REQUEST.SET_STATUS:
        this.#setStatus(payload.getBigUint64(0, true));
        return;
      case REQUEST.GET_STATUS:
        return payloads.encodeU64(this.#status);
      case REQUEST.SET_MEM_TABLE:
        this.#setMemTable(message);
        return;
      case REQUEST.ADD_MEM_REG:
        checkDescriptors(message, 1);
        device.table.add(payloads.decodeRegion(payload), message.fds.pop()!);
        return;
      case REQUEST.REM_MEM_REG:
        device.table.remove(payloads.decodeRegion(payload));
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
        return this.#getVringBase(payloads.decodeVringState(payload).index);
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
      case REQUEST.SET_BACKEND_REQ_FD:
        this.#setBackendChannel(message);
        return;
      case REQUEST.GET_CONFIG:
        return this.#getConfig(payload);
      case REQUEST.SET_CONFIG:
        this.#setConfig(payload);
        return;
      default:
        throw new Refusal('not supported');
    }
  }

  #setProtocolFeatures(features: bigint): void {
    const extra = features & ~PROTOCOL_FEATURES;
    if (extra !== 0n) throw new Refusal(`bits 0x${extra.toString(16)} were not offered`);
    this.#protocolFeatures = features;
  }

  /**
   * QEMU's generic device sets FEATURES_OK and nothing else, so neither DRIVER_OK nor any other bit starts or stops
   * anything here; only 0 has a meaning, which every front-end that sends it agrees on.
   */
  #setStatus(status: bigint): void {
    if (status === 0n) this.#reset();
    this.#status = this.#device.featuresOk ? status & 0xffn : status & 0xffn & ~VIRTIO_CONFIG_S_FEATURES_OK;
  }

  #reset(): void {
    this.#device.reset();
    this.#backendChannel?.forget();
    this.#status = 0n;
  }

  #setMemTable(message: Message): void {
    const regions = payloads.decodeRegions(message.payload);
    if (regions === undefined) {
      throw new ProtocolError('SIZE', `SET_MEM_TABLE: has not room for the regions that it says it has`);
    }
    checkDescriptors(message, regions.length);
    this.#device.table.replace(regions, message.fds.splice(0));
  }

  #getVringBase(index: number): Uint8Array | 'later' {
    if (index >= this.#device.queueCount) {
      // A front-end with more rings than the device: one that can't run has stopped where it began.
      this.#warn(`GET_VRING_BASE: there is no ring ${index}`);
      return payloads.encodeVringState({ index, num: 0 });
    }
    let base: number | undefined;
    this.#device.stop(index, (stoppedAt) => {
      base = stoppedAt;
      if (!this.#waiting) return;
      this.#waiting = false;
      this.#reply(REQUEST.GET_VRING_BASE, payloads.encodeVringState({ index, num: base }));
      this.#guard(() => this.#work());
    });
    if (base !== undefined) return payloads.encodeVringState({ index, num: base });
    this.#waiting = true;
    return 'later';
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
    const { os } = this.#environment;
    const channel = os.adoptChannel(message.fds.pop()!);
    this.#backendChannel?.close();
    const acknowledged = (this.#protocolFeatures & PROTOCOL_F.REPLY_ACK) !== 0n;
    this.#backendChannel = new BackendChannel(channel, os, acknowledged, () => this.#device.serving);
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

  #reply(request: number, payload: Uint8Array): void {
    this.#channel.send(encodeMessage(request, FLAGS.REPLY, payload));
  }

  #warn(line: string): void {
    this.#warnings += 1;
    if (this.#warnings > MAX_WARNINGS) return;
    const last = this.#warnings === MAX_WARNINGS ? ' (no more will be said of this front-end)' : '';
    this.#environment.warn(`${this.#name}: vhost-user: ${line}${last}`);
  }

  #closeFds(fds: readonly number[]): void {
    for (const fd of fds) this.#environment.os.closeFd(fd);
  }
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
