import type { Channel } from '../../ports.js';
import { encodeMessage, type Message } from '../framing.js';
import * as wire from '../messages.js';
import type { Keeping } from './keeping.js';

/** Bytes of answers that are collected at most. */
const COLLECTED_MOST = 65_536;

/** Answers to a client. They are sent together, but where another process may have to go on: there each is settled with its command. */
export class Answers {
  readonly #channel: Channel;
  readonly #keeping: Keeping | undefined;
  readonly #collected: Uint8Array[] = [];
  #size = 0;
  /** Whether somebody will call `send`. */
  collects = false;

  constructor(channel: Channel, keeping: Keeping | undefined) {
    this.#channel = channel;
    this.#keeping = keeping;
  }

  /** A command was obeyed: it is answered, if its sender wants to know. */
  reply(message: Message, ...pieces: readonly Uint8Array[]): void {
    this.#answer(message, wire.VFIO_USER_F_TYPE_REPLY, pieces, 0);
  }

  /** The same, with descriptors, which stay the caller's. */
  replyWith(message: Message, payload: Uint8Array, fds: readonly number[]): void {
    if (fds.length === 0 || (message.flags & wire.VFIO_USER_F_NO_REPLY) !== 0) {
      this.reply(message, payload);
      return;
    }
    // By itself, or the descriptors would be another's.
    this.send();
    this.#keeping?.sendApart();
    const { id, command } = message;
    this.#channel.send(encodeMessage(id, command, wire.VFIO_USER_F_TYPE_REPLY, [payload]), fds);
    this.#keeping?.settle(message, true, true);
  }

  /** It was not obeyed. */
  replyError(message: Message, errno: number): void {
    this.#answer(message, wire.VFIO_USER_F_TYPE_REPLY | wire.VFIO_USER_F_ERROR, [], errno);
  }

  /** Sends what was collected. */
  send(): void {
    const all = this.#collected.splice(0);
    const size = this.#size;
    this.#size = 0;
    if (all.length <= 1) {
      if (all.length === 1) this.#channel.send(all[0]!);
      return;
    }
    const bytes = new Uint8Array(size);
    let at = 0;
    for (const each of all) {
      bytes.set(each, at);
      at += each.length;
    }
    this.#channel.send(bytes);
  }

  #answer(message: Message, flags: number, pieces: readonly Uint8Array[], errno: number): void {
    const wanted = (message.flags & wire.VFIO_USER_F_NO_REPLY) === 0;
    if (wanted) {
      const bytes = encodeMessage(message.id, message.command, flags, pieces, errno);
      this.#collected.push(bytes);
      this.#size += bytes.length;
      if (!this.collects || this.#keeping !== undefined || this.#size >= COLLECTED_MOST) this.send();
    }
    this.#keeping?.settle(message, wanted, (flags & wire.VFIO_USER_F_ERROR) === 0);
  }
}
