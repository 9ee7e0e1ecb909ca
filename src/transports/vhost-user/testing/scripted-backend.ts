import type { Channel, Os } from '../../ports.js';
import { Decoder, encodeMessage, type Message } from '../codec.js';
import { F_PROTOCOL_FEATURES, FLAGS, REQUEST } from '../messages.js';
import { encodeU64 } from '../payloads.js';
import { encodeSharedConfig } from '../shared-memory.js';

/** What a back-end says of itself. */
export interface Script {
  readonly features: bigint;
  /** Bit 30 is offered unless this is `undefined`. */
  readonly protocolFeatures: bigint | undefined;
  /**
   * The payload of the reply to a request, or `none`; `undefined` for what an honest back-end would reply. Descriptors that
   * it takes out of the message are its own.
   */
  reply?(message: Message): Uint8Array | 'none' | undefined;
}

/** A back-end without a device, which replies as its script says. For tests of front-ends. */
export class ScriptedBackend {
  readonly channel: Channel;
  /** What was asked, in order, descriptors closed. */
  readonly heard: Message[] = [];
  /** How many descriptors came with each. */
  readonly fds: number[] = [];
  /** Go with the next reply, and are closed then. */
  replyFds: readonly number[] = [];
  /** Whether the front-end hung up. */
  closed = false;
  readonly #script: Script;
  readonly #os: Os;

  /** @param channel - owned from now on. */
  constructor(channel: Channel, os: Os, script: Script) {
    this.channel = channel;
    this.#script = script;
    this.#os = os;
    const decoder = new Decoder();
    channel.receive({
      received: (bytes, fds) => {
        decoder.push(bytes, fds);
        for (let message = decoder.next(); message !== undefined; message = decoder.next()) {
          this.fds.push(message.fds.length);
          this.heard.push(message);
          this.#answer(message);
          for (const fd of message.fds.splice(0)) os.closeFd(fd);
        }
      },
      closed: () => {
        this.closed = true;
        channel.close();
      },
    });
  }

  /** The requests that came. */
  get requests(): number[] {
    return this.heard.map(({ request }) => request);
  }

  #answer(message: Message): void {
    const { request, flags } = message;
    const payload = this.#script.reply?.(message) ?? this.#honest(message);
    if (payload === 'none') return;
    if (payload !== undefined) {
      const fds = this.replyFds;
      this.replyFds = [];
      this.channel.send(encodeMessage(request, FLAGS.REPLY, payload), fds);
      for (const fd of fds) this.#os.closeFd(fd);
    } else if ((flags & FLAGS.NEED_REPLY) !== 0) {
      this.channel.send(encodeMessage(request, FLAGS.REPLY, encodeU64(0n)));
    }
  }

  #honest({ request, payload }: Message): Uint8Array | undefined {
    const { features, protocolFeatures } = this.#script;
    switch (request) {
      case REQUEST.GET_FEATURES:
        return encodeU64(features | (protocolFeatures === undefined ? 0n : F_PROTOCOL_FEATURES));
      case REQUEST.GET_PROTOCOL_FEATURES:
        return encodeU64(protocolFeatures ?? 0n);
      case REQUEST.SET_LOG_BASE:
      case REQUEST.CHECK_DEVICE_STATE:
        return encodeU64(0n);
      case REQUEST.GET_QUEUE_NUM:
        return encodeU64(1n);
      case REQUEST.GET_SHMEM_CONFIG:
        return encodeSharedConfig(new Map());
      case REQUEST.GET_STATUS:
        return encodeU64(0xfn);
      case REQUEST.GET_VRING_BASE:
      case REQUEST.GET_CONFIG:
        return new Uint8Array(payload.buffer);
      default:
        return undefined;
    }
  }
}
