import type { Alarm, Clock } from '../../../virtio/clock.js';
import { TransportError, type TransportErrorCode } from '../../../virtio/driver-transport.js';
import type { Channel, Os } from '../../ports.js';
import { Decoder, encodeMessage, type Message } from '../codec.js';
import { FLAGS, requestName } from '../messages.js';

/** A request that waits for its reply. */
interface Pending {
  readonly request: number;
  /** On the clock, in ns. */
  readonly deadline: number;
  readonly resolve: (payload: DataView) => void;
  /** Takes the descriptors of the reply. */
  readonly received: number[] | undefined;
  readonly reject: (error: TransportError) => void;
}

/** What a requester stands on. */
export interface RequesterPorts {
  readonly os: Os;
  readonly clock: Clock;
  /** ns that a reply may take. */
  readonly timeout: number;
  /** The connection is lost: called once, after everything outstanding was rejected. */
  failed(error: TransportError): void;
}

/** What it looks like from here when the other end speaks another protocol. */
const UNANSWERED = ', and answered nothing: is it a vfio-user server?';

/**
 * Sends the requests of a front-end and finds each its reply: a back-end replies in the order in which it was asked. One that
 * does not, or replies with something else, or not in time, is not spoken to again.
 */
export class Requester {
  readonly #channel: Channel;
  readonly #ports: RequesterPorts;
  readonly #decoder = new Decoder();
  readonly #pending: Pending[] = [];
  readonly #alarm: Alarm;
  #ended: TransportError | undefined;
  #answered = false;

  /** @param channel - owned from now on. */
  constructor(channel: Channel, ports: RequesterPorts) {
    this.#channel = channel;
    this.#ports = ports;
    this.#alarm = ports.clock.alarm(() => this.#late());
    channel.receive({
      received: (bytes, fds) => this.#received(bytes, fds),
      closed: (error) =>
        this.fail(
          'LOST',
          `the back-end is gone${error ? `: ${error.message}` : ''}${this.#answered ? '' : UNANSWERED}`,
        ),
    });
  }

  /** @throws TransportError once the connection is lost: why. */
  checkAlive(): void {
    if (this.#ended !== undefined) throw this.#ended;
  }

  /**
   * Sends a request that has no reply. Descriptors stay the caller's.
   *
   * @throws TransportError once the connection is lost.
   */
  tell(request: number, payload?: Uint8Array, fds?: readonly number[]): void {
    this.checkAlive();
    this.#channel.send(encodeMessage(request, 0, payload), fds);
  }

  /**
   * Sends a request and waits for its reply. Descriptors stay the caller's.
   *
   * @param flags - `FLAGS.NEED_REPLY` for a request that has none of its own, with REPLY_ACK.
   * @param received - gets the descriptors that come with the reply, the caller's then; without it they are closed.
   * @returns the reply's payload, of any size: the back-end is not to be trusted.
   */
  ask(
    request: number,
    flags: number,
    payload?: Uint8Array,
    fds?: readonly number[],
    received?: number[],
  ): Promise<DataView> {
    return new Promise((resolve, reject) => {
      if (this.#ended !== undefined) {
        reject(this.#ended);
        return;
      }
      const deadline = this.#ports.clock.now() + this.#ports.timeout;
      this.#pending.push({ request, deadline, resolve, reject, received });
      if (this.#pending.length === 1) this.#alarm.set(deadline);
      this.#channel.send(encodeMessage(request, flags, payload), fds);
    });
  }

  /** Hangs up. What is outstanding rejects; `failed` is not called. */
  close(): void {
    this.#end(new TransportError('LOST', 'the front-end was closed'));
  }

  /** Hangs up because of what the back-end did. What is outstanding rejects, and `failed` is called. */
  fail(code: TransportErrorCode, message: string): void {
    if (this.#ended !== undefined) return;
    const error = new TransportError(code, message);
    this.#end(error);
    this.#ports.failed(error);
  }

  #received(bytes: Uint8Array, fds: readonly number[]): void {
    this.#answered = true;
    try {
      this.#decoder.push(bytes, fds);
    } catch (error) {
      this.fail('PROTOCOL', `the back-end sent no message: ${(error as Error).message}`);
      return;
    }
    for (let message = this.#decoder.next(); message !== undefined; message = this.#decoder.next()) {
      const good = this.#match(message);
      for (const fd of message.fds) this.#ports.os.closeFd(fd);
      if (!good) return;
    }
  }

  #match({ request, flags, payload, fds }: Message): boolean {
    const asked = this.#pending[0];
    if (asked?.request !== request || (flags & FLAGS.REPLY) === 0) {
      const expected = asked === undefined ? 'none' : `one to ${requestName(asked.request)}`;
      this.fail('PROTOCOL', `the back-end replied to ${requestName(request)} where ${expected} was due`);
      return false;
    }
    this.#pending.shift();
    const next = this.#pending[0];
    if (next === undefined) this.#alarm.clear();
    else this.#alarm.set(next.deadline);
    asked.received?.push(...fds.splice(0));
    asked.resolve(payload);
    return true;
  }

  #late(): void {
    const asked = this.#pending[0];
    if (asked === undefined) return;
    const seconds = this.#ports.timeout / 1e9;
    this.fail('TIMEOUT', `the back-end did not reply to ${requestName(asked.request)} within ${seconds} s`);
  }

  #end(error: TransportError): void {
    if (this.#ended !== undefined) return;
    this.#ended = error;
    this.#channel.close();
    this.#alarm.close();
    for (const fd of this.#decoder.abandon()) this.#ports.os.closeFd(fd);
    for (const { reject } of this.#pending.splice(0)) reject(error);
  }
}
