import type { Channel, Os } from '../../ports.js';
import { Decoder, encodeMessage, type Message } from '../codec.js';
import { decodeIotlb, type IotlbMessage } from '../iotlb-message.js';
import { BACKEND_REQUEST, FAILURE, FLAGS, IOTLB_SIZE, VRING_STATE_SIZE } from '../messages.js';
import { decodeVringState, encodeU64 } from '../payloads.js';
import { decodeSharedMapping, type SharedMapping } from '../shared-memory.js';

/** What a back-end says of itself. */
export interface BackendNews {
  /** The device changed its configuration space. */
  configChanged(): void;
  /** It used buffers of a ring. */
  called(index: number): void;
  /** A ring is broken. */
  broke(index: number): void;
  /** It does not know what an address means. Resolves with whether it was told, after that. */
  translate(miss: IotlbMessage): Promise<boolean>;
  /** It maps a file into shared memory. @param fd - taken over. @returns whether it is there now. */
  mapShared(mapping: SharedMapping, fd: number): boolean;
  /** It takes one out. @returns whether it was there. */
  unmapShared(mapping: SharedMapping): boolean;
}

/** Hears what a back-end asks of its front-end, on the channel that SET_BACKEND_REQ_FD gave it. */
export class BackendRequests {
  readonly #channel: Channel;
  readonly #os: Os;
  readonly #news: BackendNews;
  readonly #decoder = new Decoder();

  /**
   * @param channel - owned from now on.
   * @param failed - the back-end sent what is no message.
   */
  constructor(channel: Channel, os: Os, news: BackendNews, failed: (error: Error) => void) {
    this.#channel = channel;
    this.#os = os;
    this.#news = news;
    channel.receive({
      received: (bytes, fds) => {
        try {
          this.#decoder.push(bytes, fds);
        } catch (error) {
          this.close();
          failed(error as Error);
          return;
        }
        this.#answer();
      },
      closed: () => this.close(),
    });
  }

  close(): void {
    this.#channel.close();
    for (const fd of this.#decoder.abandon()) this.#os.closeFd(fd);
  }

  #answer(): void {
    for (let message = this.#decoder.next(); message !== undefined; message = this.#decoder.next()) {
      const fd = message.request === BACKEND_REQUEST.SHMEM_MAP ? message.fds.shift() : undefined;
      const more = message.fds.length > 0;
      for (const other of message.fds) this.#os.closeFd(other);
      const { request, flags, payload } = message;
      const reply = (done: boolean): void => {
        if ((flags & FLAGS.NEED_REPLY) === 0) return;
        this.#channel.send(encodeMessage(request, FLAGS.REPLY, encodeU64(done ? 0n : FAILURE)));
      };
      if (request === BACKEND_REQUEST.IOTLB_MSG && payload.byteLength >= IOTLB_SIZE.least) {
        this.#news.translate(decodeIotlb(payload)).then(reply, () => reply(false));
      } else if (fd !== undefined) reply(this.#mapShared(payload, fd, more));
      else reply(this.#carryOut(message));
    }
  }

  /** @param more - other descriptors came, too. */
  #mapShared(payload: DataView, fd: number, more: boolean): boolean {
    const mapping = decodeSharedMapping(payload);
    if (mapping !== undefined && !more) return this.#news.mapShared(mapping, fd);
    this.#os.closeFd(fd);
    return false;
  }

  #carryOut({ request, payload }: Message): boolean {
    if (request === BACKEND_REQUEST.CONFIG_CHANGE_MSG) {
      this.#news.configChanged();
      return true;
    }
    if (request === BACKEND_REQUEST.SHMEM_UNMAP) {
      const mapping = decodeSharedMapping(payload);
      return mapping !== undefined && this.#news.unmapShared(mapping);
    }
    const tell =
      request === BACKEND_REQUEST.VRING_CALL
        ? (index: number) => this.#news.called(index)
        : request === BACKEND_REQUEST.VRING_ERR
          ? (index: number) => this.#news.broke(index)
          : undefined;
    if (tell === undefined || payload.byteLength !== VRING_STATE_SIZE) return false;
    tell(decodeVringState(payload).index);
    return true;
  }
}
