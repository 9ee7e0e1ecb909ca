import type { VirtioDevice } from '../../../virtio/device.js';
import type { Channel } from '../../ports.js';
import type { Environment, Session, StartSession } from '../../session.js';
import { Turn } from '../../turn.js';
import { Decoder, encodeMessage, type Message } from '../codec.js';
import { ANSWERED_ELSEWHERE, FAILURE, FLAGS, HEADER_SIZE, requestName } from '../messages.js';
import { encodeU64 } from '../payloads.js';
import { ProtocolError } from '../protocol-error.js';
import { FrontendRequests, type Reply } from './requests.js';

/** Serves a device to a vhost-user front-end, such as QEMU (docs/interop/vhost-user.rst). */
export const serveVhostUser: StartSession = (channel, device, environment, ended) =>
  new BackendSession(channel, device, environment, ended);

class BackendSession implements Session {
  readonly #channel: Channel;
  readonly #name: string;
  readonly #environment: Environment;
  readonly #ended: (error?: Error) => void;
  readonly #decoder = new Decoder();
  readonly #requests: FrontendRequests;
  /** A ring is stopping: what comes in meanwhile waits, because answers are given in order. */
  #waiting = false;
  /** Too much came at once: it is carried out bit by bit, and the rest stays in the socket. */
  #paused = false;
  #closed = false;
  /** Another process has the front-end, or is to have it: as soon as the ring that stops has stopped, this is called. */
  #left = false;
  #leaving: (() => void) | undefined;

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
    this.#requests = new FrontendRequests(device, environment, (line) => this.#warn(line));
    channel.receive({
      received: (bytes, fds) => this.#received(bytes, fds),
      closed: (error) => this.#end(error),
    });
  }

  replace(device: VirtioDevice): void {
    this.#requests.replace(device);
  }

  portray(): Uint8Array {
    return this.#requests.portray();
  }

  yield(): Promise<Uint8Array> {
    // What comes from now on stays in the socket, and what was read and not dealt with is there as well.
    this.#channel.pause();
    return new Promise((resolve, reject) => {
      this.#leaving = () => {
        this.#leaving = undefined;
        this.#left = true;
        this.#requests.yield((result) => {
          if (result instanceof Uint8Array) {
            resolve(result);
            return;
          }
          this.#left = false;
          this.#channel.resume();
          this.#guard(() => this.#work());
          reject(result);
        });
      };
      if (!this.#waiting) this.#leaving();
    });
  }

  leave(): void {
    this.#closed = true;
    this.#requests.leave();
  }

  async save(): Promise<Uint8Array> {
    return this.#requests.save();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#requests.close();
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
      if (!this.#paused) this.#work();
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

  /** Carries out what has come, as far as answers can be given; others have their turn in between. */
  #work(): void {
    const turn = new Turn(this.#environment.clock);
    while (!this.#waiting && !this.#closed && !this.#left && this.#leaving === undefined) {
      const message = this.#decoder.next();
      if (message === undefined) {
        if (this.#paused) this.#channel.resume();
        this.#paused = false;
        return;
      }
      try {
        this.#carryOut(message);
      } finally {
        this.#closeFds(message.fds);
      }
      if (!turn.over || this.#waiting) continue;
      this.#channel.pause();
      this.#paused = true;
      this.#environment.defer(() => this.#guard(() => this.#work()));
      return;
    }
  }

  #carryOut(message: Message): void {
    const { request, flags } = message;
    let reply: Reply | 'later' | undefined;
    let ack = 0n;
    try {
      reply = this.#requests.carryOut(message, (later) => {
        this.#waiting = false;
        this.#reply(request, later);
        this.#settle(message, later, false);
        this.#leaving?.();
        this.#guard(() => this.#work());
      });
    } catch (error) {
      if (error instanceof ProtocolError) throw error;
      ack = FAILURE;
      this.#warn(`${requestName(request)} is refused: ${text(error)}`);
    }
    if (reply === 'later') {
      this.#waiting = true;
      return;
    }
    if (reply !== undefined) this.#reply(request, reply);
    else if ((flags & FLAGS.NEED_REPLY) !== 0 || ANSWERED_ELSEWHERE.has(request)) {
      this.#reply(request, encodeU64(ack));
    }
    this.#settle(message, reply, ack !== 0n);
  }

  /** It was answered, if it is to be. */
  #settle(message: Message, reply: Reply | undefined, refused: boolean): void {
    const { keep } = this.#environment;
    if (keep === undefined || this.#closed) return;
    keep.settle(HEADER_SIZE + message.payload.byteLength, this.#requests.notes(message, reply, refused));
  }

  #reply(request: number, reply: Reply): void {
    if (reply instanceof Uint8Array) {
      this.#channel.send(encodeMessage(request, FLAGS.REPLY, reply));
      return;
    }
    this.#channel.send(encodeMessage(request, FLAGS.REPLY, reply.payload), [reply.fd]);
    this.#environment.os.closeFd(reply.fd);
  }

  #warn(line: string): void {
    this.#environment.warn(`${this.#name}: vhost-user: ${line}`);
  }

  #closeFds(fds: readonly number[]): void {
    for (const fd of fds) this.#environment.os.closeFd(fd);
  }
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
