import type { Alarm, Clock } from '../../../virtio/clock.js';
import { TransportError } from '../../../virtio/driver-transport.js';
import type { Channel } from '../../ports.js';
import { encodeMessage, Framing, type Message } from '../framing.js';
import * as wire from '../messages.js';

/** What a client's connection needs of the process. */
export interface RequesterPorts {
  readonly clock: Clock;
  closeFd(fd: number): void;
  /** Serves a command of the server's; must not throw. */
  command(message: Message): void;
  /** The connection is over, for this reason. */
  lost(error: TransportError): void;
}

interface Pending {
  readonly command: number;
  /** Whether the answer's descriptors are wanted. */
  readonly wantsFds: boolean;
  resolve(answer: Answer): void;
  reject(error: TransportError): void;
}

/** The answer to a command. */
export interface Answer {
  readonly payload: DataView;
  /** Descriptors that came with it, the caller's. */
  readonly fds: readonly number[];
}

/** Longest time in which a server may answer nothing at all while something is asked, in ms. */
const SILENCE = 10_000;

/** What it looks like from here when the other end speaks another protocol. */
const UNANSWERED = ', and answered nothing: is it one of vhost-user?';

/** A client's commands and their replies. Message ids are this end's own. Nothing that a server sends is believed. */
export class Requester {
  readonly #channel: Channel;
  readonly #ports: RequesterPorts;
  readonly #framing = new Framing();
  readonly #pending = new Map<number, Pending>();
  readonly #alarm: Alarm;
  #nextId = 0;
  #answered = false;
  #over: TransportError | undefined;

  constructor(channel: Channel, ports: RequesterPorts) {
    this.#channel = channel;
    this.#ports = ports;
    this.#alarm = ports.clock.alarm(() => {
      this.end(new TransportError('TIMEOUT', `the vfio-user server did not answer for ${SILENCE} ms`));
    });
    channel.receive({
      received: (bytes, fds) => this.#received(bytes, fds),
      closed: (error) =>
        this.end(
          new TransportError(
            'LOST',
            `the vfio-user server is gone${error === undefined ? '' : `: ${error.message}`}${this.#answered ? '' : UNANSWERED}`,
          ),
        ),
    });
  }

  /**
   * Sends a command.
   *
   * @returns the reply's payload; rejects with a `TransportError`: `REFUSED` for an error reply, else why the connection ended.
   */
  async ask(
    command: number,
    pieces: readonly Uint8Array[] = [],
    fds: readonly number[] = [],
  ): Promise<DataView> {
    return (await this.#ask(command, pieces, fds, false)).payload;
  }

  /** The same, for a command whose answer may have descriptors. */
  askForFds(command: number, pieces: readonly Uint8Array[]): Promise<Answer> {
    return this.#ask(command, pieces, [], true);
  }

  #ask(
    command: number,
    pieces: readonly Uint8Array[],
    fds: readonly number[],
    wantsFds: boolean,
  ): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.#over !== undefined) {
        reject(this.#over);
        return;
      }
      const id = this.#freeId();
      if (this.#pending.size === 0) this.#arm();
      this.#pending.set(id, { command, wantsFds, resolve, reject });
      this.#channel.send(encodeMessage(id, command, wire.VFIO_USER_F_TYPE_COMMAND, pieces), fds);
    });
  }

  /** Sends a command that wants no reply. */
  post(command: number, pieces: readonly Uint8Array[]): void {
    if (this.#over !== undefined) return;
    this.#channel.send(encodeMessage(this.#freeId(), command, wire.VFIO_USER_F_NO_REPLY, pieces));
  }

  /** Answers a command of the server's, if it wants that. */
  reply(message: Message, pieces: readonly Uint8Array[], errno = 0): void {
    if (this.#over !== undefined || (message.flags & wire.VFIO_USER_F_NO_REPLY) !== 0) return;
    const flags = wire.VFIO_USER_F_TYPE_REPLY | (errno === 0 ? 0 : wire.VFIO_USER_F_ERROR);
    this.#channel.send(encodeMessage(message.id, message.command, flags, pieces, errno));
  }

  /** Ends the connection: all that is outstanding rejects with this error. */
  end(error: TransportError): void {
    if (this.#over !== undefined) return;
    this.#over = error;
    this.#channel.close();
    this.#alarm.close();
    for (const fd of this.#framing.abandon()) this.#ports.closeFd(fd);
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
    this.#ports.lost(error);
  }

  #received(bytes: Uint8Array, fds: readonly number[]): void {
    this.#answered = true;
    const refuse = (refused: readonly number[]): void => {
      for (const fd of refused) this.#ports.closeFd(fd);
    };
    try {
      this.#framing.push(bytes, fds, (message) => this.#took(message), refuse);
    } catch (error) {
      this.end(new TransportError('PROTOCOL', `the vfio-user server sent ${(error as Error).message}`));
    }
  }

  #took(message: Message): void {
    const fds = this.#over === undefined && this.#wantsFds(message) ? message.fds : [];
    // Nothing else that is asked here is answered with descriptors.
    if (fds.length === 0) for (const fd of message.fds) this.#ports.closeFd(fd);
    if (this.#over !== undefined) return;
    if ((message.flags & wire.VFIO_USER_F_TYPE_MASK) === wire.VFIO_USER_F_TYPE_COMMAND) {
      this.#ports.command(message);
      return;
    }
    const pending = this.#pending.get(message.id);
    const name = wire.commandName(message.command);
    if ((message.flags & wire.VFIO_USER_F_TYPE_MASK) !== wire.VFIO_USER_F_TYPE_REPLY) {
      this.end(
        new TransportError('PROTOCOL', `the vfio-user server sent flags 0x${message.flags.toString(16)}`),
      );
    } else if (pending === undefined || pending.command !== message.command) {
      this.end(new TransportError('PROTOCOL', `the vfio-user server answered ${name}, which nobody asked`));
    } else {
      this.#pending.delete(message.id);
      if (this.#pending.size === 0) this.#alarm.clear();
      else this.#arm();
      if ((message.flags & wire.VFIO_USER_F_ERROR) === 0) pending.resolve({ payload: message.payload, fds });
      else
        pending.reject(
          new TransportError('REFUSED', `the vfio-user server refused ${name}: errno ${message.error}`),
        );
    }
  }

  #wantsFds({ id, command, flags }: Message): boolean {
    const good =
      (flags & (wire.VFIO_USER_F_TYPE_MASK | wire.VFIO_USER_F_ERROR)) === wire.VFIO_USER_F_TYPE_REPLY;
    const pending = this.#pending.get(id);
    return good && pending?.command === command && pending.wantsFds;
  }

  #arm(): void {
    this.#alarm.set(this.#ports.clock.now() + SILENCE * 1e6);
  }

  /** @throws RangeError when 65,536 commands are outstanding. */
  #freeId(): number {
    if (this.#pending.size > 0xffff) throw new RangeError('over 65,536 vfio-user commands are outstanding');
    while (this.#pending.has(this.#nextId)) this.#nextId = (this.#nextId + 1) & 0xffff;
    const id = this.#nextId;
    this.#nextId = (this.#nextId + 1) & 0xffff;
    return id;
  }
}
