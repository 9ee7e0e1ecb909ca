import type { Clock } from '../../../virtio/clock.js';
import { TransportError } from '../../../virtio/driver-transport.js';
import type { Channel, Os } from '../../ports.js';
import { F_PROTOCOL_FEATURES, FLAGS, PROTOCOL_F, REQUEST, requestName } from '../messages.js';
import { encodeU64 } from '../payloads.js';
import { decodeSharedConfig } from '../shared-memory.js';
import { InbandKick } from './notices.js';
import { Requester } from './requester.js';
import { type BackendNews, BackendRequests } from './requests.js';

/** What a front-end can do something with. */
const PROTOCOL_FEATURES = Object.values(PROTOCOL_F).reduce((all, bit) => all | bit, 0n);

/** What a back-end stands on, seen from its front-end. */
export interface BackendPeerPorts {
  readonly os: Os;
  readonly clock: Clock;
  /** ns that a reply may take. */
  readonly timeout: number;
  readonly news: BackendNews;
  /** In-band notifications are wished. */
  readonly inband: boolean;
  /** The back-end is lost. */
  failed(error: TransportError): void;
}

/** The back-end at the other end, and what was agreed with it. Every promise rejects with a `TransportError` once it is lost. */
export class BackendPeer {
  readonly #ports: BackendPeerPorts;
  readonly #requester: Requester;
  #backendRequests: BackendRequests | undefined;
  #greeted: Promise<void> | undefined;
  #features = 0n;
  #protocolFeatures = 0n;
  #queueCount: number | undefined;
  #sharedMemory: ReadonlyMap<number, number> = new Map();

  /** @param channel - owned from now on. */
  constructor(channel: Channel, ports: BackendPeerPorts) {
    this.#ports = ports;
    this.#requester = new Requester(channel, ports);
  }

  /** The feature bits that it offers, bit 30 among them; good after `greet`, as all that follows. */
  get features(): bigint {
    return this.#features;
  }

  /** The protocol features that were agreed on. */
  get protocolFeatures(): bigint {
    return this.#protocolFeatures;
  }

  /** How many queues it has; `undefined` when it does not tell. */
  get queueCount(): number | undefined {
    return this.#queueCount;
  }

  /** Bytes of each shared memory region that it has, by id. */
  get sharedMemory(): ReadonlyMap<number, number> {
    return this.#sharedMemory;
  }

  has(feature: bigint): boolean {
    return (this.#protocolFeatures & feature) !== 0n;
  }

  /** What is said once, before anything else. */
  greet(): Promise<void> {
    this.#greeted ??= this.#introduce();
    return this.#greeted;
  }

  /** @throws TransportError once it is lost: why. */
  checkAlive(): void {
    this.#requester.checkAlive();
  }

  /**
   * Sends a request that has no reply of its own; with REPLY_ACK, waits until the back-end says that it worked.
   * Descriptors stay the caller's.
   */
  async command(request: number, payload?: Uint8Array, fds?: readonly number[]): Promise<void> {
    if (!this.has(PROTOCOL_F.REPLY_ACK)) {
      this.#requester.tell(request, payload, fds);
      return;
    }
    const reply = await this.#requester.ask(request, FLAGS.NEED_REPLY, payload, fds);
    if (u64(request, reply) !== 0n) {
      throw new TransportError('REFUSED', `the back-end refused ${requestName(request)}`);
    }
  }

  /**
   * Sends a request that has a reply.
   *
   * @param size - bytes that the reply must have; it may also have none.
   */
  async ask(request: number, payload: Uint8Array, size: number): Promise<DataView> {
    const reply = await this.#requester.ask(request, 0, payload);
    if (reply.byteLength !== size && reply.byteLength !== 0) throw badSize(request, reply);
    return reply;
  }

  /** Likewise, with a reply of any size that may bring descriptors, which are the caller's. */
  async askForFds(request: number, payload: Uint8Array): Promise<{ payload: DataView; fds: number[] }> {
    const fds: number[] = [];
    return { payload: await this.#requester.ask(request, 0, payload, undefined, fds), fds };
  }

  /**
   * Sends a request whose reply is a number.
   *
   * @param fds - stay the caller's.
   * @param received - gets the descriptors that come with the reply, the caller's then; without it they are closed.
   */
  async askU64(
    request: number,
    payload?: Uint8Array,
    fds?: readonly number[],
    received?: number[],
  ): Promise<bigint> {
    return u64(request, await this.#requester.ask(request, 0, payload, fds, received));
  }

  /** Waits until everything said so far was heard: without REPLY_ACK, by asking what every back-end answers. */
  async settle(): Promise<void> {
    if (!this.has(PROTOCOL_F.REPLY_ACK)) await this.askU64(REQUEST.GET_FEATURES);
  }

  /** Hangs up. What is outstanding rejects; `failed` is not called. */
  close(): void {
    this.#requester.close();
    this.#backendRequests?.close();
  }

  async #introduce(): Promise<void> {
    this.#features = await this.askU64(REQUEST.GET_FEATURES);
    if ((this.#features & F_PROTOCOL_FEATURES) !== 0n) {
      const offered = await this.askU64(REQUEST.GET_PROTOCOL_FEATURES);
      const accepted = offered & this.#wanted(offered);
      this.#requester.tell(REQUEST.SET_PROTOCOL_FEATURES, encodeU64(accepted));
      this.#protocolFeatures = accepted;
    }
    if (this.has(PROTOCOL_F.MQ)) this.#queueCount = Number(await this.askU64(REQUEST.GET_QUEUE_NUM));
    if (this.has(PROTOCOL_F.SHMEM)) {
      const reply = await this.#requester.ask(REQUEST.GET_SHMEM_CONFIG, 0);
      const sizes = decodeSharedConfig(reply);
      if (sizes === undefined)
        throw new TransportError('PROTOCOL', 'the back-end has shared memory regions that can not be');
      this.#sharedMemory = sizes;
    }
    if (this.has(PROTOCOL_F.BACKEND_REQ)) await this.#giveBackendChannel();
    await this.command(REQUEST.SET_OWNER);
  }

  /** Of what is offered: in-band notifications and shared memory only with all that they need. */
  #wanted(offered: bigint): bigint {
    const needed = PROTOCOL_F.BACKEND_REQ | PROTOCOL_F.REPLY_ACK;
    const inband = this.#ports.inband && (offered & needed) === needed;
    let wanted = inband ? PROTOCOL_FEATURES : PROTOCOL_FEATURES & ~PROTOCOL_F.INBAND_NOTIFICATIONS;
    // Without a channel it could not say what is there.
    if ((offered & PROTOCOL_F.BACKEND_REQ) === 0n) wanted &= ~PROTOCOL_F.SHMEM;
    return wanted;
  }

  /** Kicks a ring by messages. */
  inbandKick(index: number): InbandKick {
    return new InbandKick(this.#requester, index);
  }

  async #giveBackendChannel(): Promise<void> {
    const { os, news } = this.#ports;
    // Closed meanwhile: nobody would close the channel any more.
    this.checkAlive();
    const { channel, fd } = os.createChannel();
    this.#backendRequests = new BackendRequests(channel, os, news, (error) =>
      this.#requester.fail('PROTOCOL', `the back-end sent no message: ${error.message}`),
    );
    try {
      await this.command(REQUEST.SET_BACKEND_REQ_FD, undefined, [fd]);
    } finally {
      os.closeFd(fd);
    }
  }
}

function u64(request: number, reply: DataView): bigint {
  if (reply.byteLength !== 8) throw badSize(request, reply);
  return reply.getBigUint64(0, true);
}

function badSize(request: number, { byteLength }: DataView): TransportError {
  return new TransportError(
    'PROTOCOL',
    `the back-end replied to ${requestName(request)} with ${byteLength} bytes`,
  );
}
