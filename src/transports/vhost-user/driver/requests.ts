import type { Channel, Os } from '../../ports.js';
import { Decoder, encodeMessage } from '../codec.js';
import { BACKEND_REQUEST, FAILURE, FLAGS } from '../messages.js';
import { encodeU64 } from '../payloads.js';

/** Hears what a back-end asks of its front-end, on the channel that SET_BACKEND_REQ_FD gave it. */
export class BackendRequests {
  readonly #channel: Channel;
  readonly #os: Os;
  readonly #decoder = new Decoder();

  /**
   * @param channel - owned from now on.
   * @param configChanged - the device changed its configuration space.
   * @param failed - the back-end sent what is no message.
   */
  constructor(channel: Channel, os: Os, configChanged: () => void, failed: (error: Error) => void) {
    this.#channel = channel;
    this.#os = os;
    channel.receive({
      received: (bytes, fds) => {
        try {
          this.#decoder.push(bytes, fds);
        } catch (error) {
          this.close();
          failed(error as Error);
          return;
        }
        this.#answer(configChanged);
      },
      closed: () => this.close(),
    });
  }

  close(): void {
    this.#channel.close();
    for (const fd of this.#decoder.abandon()) this.#os.closeFd(fd);
  }

  #answer(configChanged: () => void): void {
    for (let message = this.#decoder.next(); message !== undefined; message = this.#decoder.next()) {
      for (const fd of message.fds) this.#os.closeFd(fd);
      const { request, flags } = message;
      const known = request === BACKEND_REQUEST.CONFIG_CHANGE_MSG;
      if (known) configChanged();
      if ((flags & FLAGS.NEED_REPLY) !== 0) {
        this.#channel.send(encodeMessage(request, FLAGS.REPLY, encodeU64(known ? 0n : FAILURE)));
      }
    }
  }
}
