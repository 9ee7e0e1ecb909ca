import type { Channel, Os } from '../../ports.js';
import { Decoder, encodeMessage, type Message } from '../codec.js';
import { FLAGS } from '../messages.js';

/** What goes with a message's payload. */
export interface RawOptions {
  /** Stay the caller's. */
  readonly fds?: readonly number[];
  readonly needReply?: boolean;
}

/** A front-end that says what it is told to, right or wrong, and keeps what is answered. For tests of back-ends. */
export class RawFrontend {
  readonly channel: Channel;
  /** Answers that nobody took. */
  readonly replies: Message[] = [];
  /** Descriptors that came with answers, if they are to be kept. */
  kept: number[] | undefined;
  /** Whether the back-end hung up. */
  closed = false;
  #arrived: () => void = () => {};

  /** @param channel - owned from now on. */
  constructor(channel: Channel, os: Os) {
    this.channel = channel;
    const decoder = new Decoder();
    channel.receive({
      received: (bytes, fds) => {
        decoder.push(bytes, fds);
        for (let message = decoder.next(); message !== undefined; message = decoder.next()) {
          if (this.kept !== undefined) this.kept.push(...message.fds);
          else for (const fd of message.fds) os.closeFd(fd);
          this.replies.push(message);
        }
        this.#arrived();
      },
      closed: () => {
        this.closed = true;
        this.#arrived();
      },
    });
  }

  send(request: number, payload?: Uint8Array, { fds = [], needReply = false }: RawOptions = {}): void {
    this.channel.send(encodeMessage(request, needReply ? FLAGS.NEED_REPLY : 0, payload), fds);
  }

  /** The oldest answer. @throws Error unless it is one, to this request. */
  take(request: number): DataView {
    const reply = this.replies.shift();
    if (reply?.request !== request || reply.flags !== (FLAGS.VERSION | FLAGS.REPLY)) {
      throw new Error(`no reply to ${request}, but ${reply?.request} with flags ${reply?.flags}`);
    }
    return reply.payload;
  }

  /** As `take`, of a reply that is one u64. */
  takeU64(request: number): bigint {
    const payload = this.take(request);
    if (payload.byteLength !== 8) throw new Error(`${payload.byteLength} bytes of payload are no u64`);
    return payload.getBigUint64(0, true);
  }

  /** As `take`, once it is there; for operating systems that are not fake. */
  async reply(request: number): Promise<DataView> {
    await this.until(() => this.replies.length > 0 || this.closed);
    if (this.replies.length === 0) throw new Error(`the back-end hung up before it replied to ${request}`);
    return this.take(request);
  }

  /** Waits until this holds; looked at when something came. */
  async until(done: () => boolean): Promise<void> {
    while (!done()) {
      await new Promise<void>((resolve) => {
        this.#arrived = resolve;
      });
    }
  }

  close(): void {
    this.channel.close();
    this.closed = true;
  }
}
