import type { Channel, Os } from '../../ports.js';
import { Decoder, encodeMessage } from '../codec.js';
import { BACKEND_REQUEST, FLAGS } from '../messages.js';
import { encodeVringState } from '../payloads.js';

/** One message that waits to be sent. */
interface Outgoing {
  readonly request: number;
  readonly payload?: Uint8Array;
  readonly fds?: readonly number[] | undefined;
  /** Somebody waits for what becomes of it, acknowledged or not. */
  readonly awaited?: boolean;
  /** It was sent, or never will be: its descriptors are done with. */
  readonly sent?: (() => void) | undefined;
  /** Hears whether the front-end did it. */
  answered?(ok: boolean): void;
}

/** Whether the front-end liked it or not: there is nothing to be done about it. */
function nobody(): void {}

/** The back-end's way to ask something of the front-end: SET_BACKEND_REQ_FD hands it over. */
export class BackendChannel {
  readonly #channel: Channel;
  readonly #os: Os;
  readonly #acknowledged: boolean;
  readonly #mayTalk: () => boolean;
  readonly #decoder = new Decoder();
  /** By what they are about, the oldest first: what is to be said twice is said once. */
  readonly #waiting = new Map<string, Outgoing>();
  /** Who waits for the answer to what was sent last. */
  #answered: ((ok: boolean) => void) | undefined;
  #questions = 0;
  #closed = false;

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
    this.#say('config', { request: BACKEND_REQUEST.CONFIG_CHANGE_MSG });
  }

  /** The same, that buffers of a ring were used (INBAND_NOTIFICATIONS). */
  called(index: number): void {
    const payload = encodeVringState({ index, num: 0 });
    this.#say(`call ${index}`, { request: BACKEND_REQUEST.VRING_CALL, payload });
  }

  /** The same, that a ring is broken. */
  broke(index: number): void {
    const payload = encodeVringState({ index, num: 0 });
    this.#say(`err ${index}`, { request: BACKEND_REQUEST.VRING_ERR, payload });
  }

  /**
   * Asks the front-end for something, now or as soon as it may.
   *
   * @param answered - called later, with whether the front-end did it; never where acknowledgements were not negotiated.
   * @returns `false` when nobody is there to be asked.
   */
  ask(request: number, payload: Uint8Array, answered: (ok: boolean) => void): boolean {
    if (this.#closed) return false;
    // Each is another.
    this.#say(`question ${this.#questions++}`, { request, payload, answered });
    return true;
  }

  /**
   * The same, of what somebody waits for: it is answered in any case. Where acknowledgements were not negotiated, it is taken for done when it was sent.
   *
   * @param fds - go with it; they stay the caller's, who hears with `sent` that they are not needed any more.
   */
  command(
    request: number,
    payload: Uint8Array,
    answered: (ok: boolean) => void,
    fds?: readonly number[],
    sent?: () => void,
  ): boolean {
    if (this.#closed) return false;
    this.#say(`question ${this.#questions++}`, { request, payload, answered, fds, sent, awaited: true });
    return true;
  }

  /** Sends what had to wait. One message waits for its answer at a time, so that a front-end that reads none piles up none. */
  flush(): void {
    for (const [what, { request, payload, fds, answered = nobody, awaited, sent }] of this.#waiting) {
      if (this.#answered !== undefined || !this.#mayTalk()) return;
      this.#waiting.delete(what);
      if (this.#acknowledged) this.#answered = answered;
      const flags = this.#acknowledged ? FLAGS.NEED_REPLY : 0;
      this.#channel.send(encodeMessage(request, flags, payload), fds);
      sent?.();
      if (!this.#acknowledged && awaited === true) answered(true);
    }
  }

  /** The device was reset: nobody wants to hear of what was before. */
  forget(): void {
    this.dropCommands();
    this.#waiting.clear();
  }

  /** What somebody waits for, and was not sent, will not be. */
  dropCommands(): void {
    for (const [what, { awaited, sent, answered }] of [...this.#waiting]) {
      if (awaited !== true) continue;
      this.#waiting.delete(what);
      sent?.();
      answered?.(false);
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const unanswered = [...this.#waiting.values()];
    this.#waiting.clear();
    this.#channel.close();
    for (const fd of this.#decoder.abandon()) this.#os.closeFd(fd);
    this.#answered?.(false);
    for (const { answered, sent } of unanswered) {
      sent?.();
      answered?.(false);
    }
  }

  #say(what: string, message: Outgoing): void {
    if (!this.#waiting.has(what)) this.#waiting.set(what, message);
    this.flush();
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
      const answered = this.#answered;
      this.#answered = undefined;
      answered?.(message.payload.byteLength === 8 && message.payload.getBigUint64(0, true) === 0n);
      if (this.#closed) return;
    }
    this.flush();
  }
}
