import type { Channel, Os } from '../../ports.js';
import { Decoder, encodeMessage } from '../codec.js';
import { BACKEND_REQUEST, FLAGS } from '../messages.js';

/** The back-end's way to ask something of the front-end: SET_BACKEND_REQ_FD hands it over. */
export class BackendChannel {
  readonly #channel: Channel;
  readonly #os: Os;
  readonly #acknowledged: boolean;
  readonly #mayTalk: () => boolean;
  readonly #decoder = new Decoder();
  #changed = false;
  #unanswered = false;

  /**
   * @param channel - owned from now on.
   * @param acknowledged - whether REPLY_ACK was negotiated.
   * @param mayTalk - whether a ring is served: a suspended device sends no messages (and QEMU 11.1 dies of one).
   */
  constructor(channel: Channel, os: Os, acknowledged: boolean, mayTalk: () => boolean) {
    this.#channel = channel;
    this.#os = os;
    this.#acknowledged = acknowledged;
    this.#mayTalk = mayTalk;
    channel.receive({
      received: (bytes, fds) => this.#received(bytes, fds),
      closed: () => this.close(),
    });
  }

  /** Tells the front-end, now or as soon as it may, that the device changed its configuration space. */
  configChanged(): void {
    this.#changed = true;
    this.flush();
  }

  /** Sends what had to wait. One message waits for its answer at a time, so that a front-end that reads none piles up none. */
  flush(): void {
    if (!this.#changed || this.#unanswered || !this.#mayTalk()) return;
    this.#changed = false;
    this.#unanswered = this.#acknowledged;
    const flags = this.#acknowledged ? FLAGS.NEED_REPLY : 0;
    this.#channel.send(encodeMessage(BACKEND_REQUEST.CONFIG_CHANGE_MSG, flags));
  }

  /** The device was reset: nobody wants to hear of earlier changes. */
  forget(): void {
    this.#changed = false;
  }

  close(): void {
    this.#channel.close();
    for (const fd of this.#decoder.abandon()) this.#os.closeFd(fd);
  }

  #received(bytes: Uint8Array, fds: readonly number[]): void {
    try {
      this.#decoder.push(bytes, fds);
    } catch {
      // Only this channel speaks nonsense: the device works on without config changes.
      this.close();
      return;
    }
    for (let message = this.#decoder.next(); message !== undefined; message = this.#decoder.next()) {
      for (const fd of message.fds) this.#os.closeFd(fd);
      // Whether the front-end liked it or not: there is nothing to be done about it.
      this.#unanswered = false;
    }
    this.flush();
  }
}
