import * as wire from './messages.js';
import { ConnectionError } from './vfio-user-error.js';

/** One message as it arrived. */
export interface Message {
  readonly id: number;
  readonly command: number;
  readonly flags: number;
  /** What an error reply says went wrong; 0 otherwise, or where the peer does not say. */
  readonly error: number;
  /** All after the header; the message's own. */
  readonly payload: DataView;
  /** Descriptors that came with it, and that whoever handles it must take or close. */
  readonly fds: number[];
}

/** The longest message that is taken: a transfer of the most bytes, or anything else, with room to spare. */
export const MESSAGE_SIZE_MOST: number = wire.DEFAULT_MAX_DATA_XFER_SIZE + 4096;
/** Descriptors that are taken with one message. */
export const MESSAGE_FDS_MOST = 16;

/** Cuts a stream of bytes into messages. Pure: bytes in, messages out. */
export class Framing {
  readonly #header = new Uint8Array(wire.HEADER.size);
  #have = 0;
  #payload: Uint8Array | undefined;
  #fds: number[] = [];

  /**
   * Takes the next bytes of the stream, and the descriptors that arrived with them.
   *
   * @param deliver - is given each message that is whole, in order; must not throw.
   * @param refuse - is given descriptors that are more than a message may have.
   * @throws ConnectionError `FRAMING` when a header can't be: nothing that follows can be understood.
   */
  push(
    bytes: Uint8Array,
    fds: readonly number[],
    deliver: (message: Message) => void,
    refuse: (fds: readonly number[]) => void,
  ): void {
    const whole: Message[] = [];
    let failure: unknown;
    try {
      for (let at = 0; at < bytes.length; ) {
        if (this.#have === 0) this.#fds = [];
        at += this.#take(bytes, at);
        const message = this.#complete();
        if (message !== undefined) whole.push(message);
      }
    } catch (error) {
      failure = error;
    }
    // They came with the last send that begins in these bytes, and a peer's send begins with a header.
    const room = MESSAGE_FDS_MOST - this.#fds.length;
    this.#fds.push(...fds.slice(0, room));
    if (fds.length > room) refuse(fds.slice(room));
    for (const message of whole) deliver(message);
    if (failure !== undefined) throw failure;
  }

  /** Descriptors of a message that never became whole. */
  abandon(): readonly number[] {
    const fds = this.#have === 0 ? [] : this.#fds;
    this.#have = 0;
    return fds;
  }

  /** Takes bytes into the header or the payload; returns how many. */
  #take(bytes: Uint8Array, at: number): number {
    const { size } = wire.HEADER;
    const into = this.#have < size ? this.#header : this.#payload!;
    const start = this.#have < size ? this.#have : this.#have - size;
    const count = Math.min(into.length - start, bytes.length - at);
    into.set(bytes.subarray(at, at + count), start);
    this.#have += count;
    if (into === this.#header) this.#look(start);
    if (this.#have === size && into === this.#header) this.#begin();
    return count;
  }

  /** A vhost-user message may be shorter than a header here: who sends one would wait for its answer for ever. */
  #look(before: number): void {
    const sizeEnd = wire.HEADER.messageSize + 4;
    if (before >= sizeEnd || this.#have < sizeEnd) return;
    const header = new DataView(this.#header.buffer);
    const command = header.getUint16(wire.HEADER.command, true);
    const size = header.getUint32(wire.HEADER.messageSize, true);
    // Its flags are where the size is here: the version, which is 1, and two bits.
    if (command === 0 && size < wire.HEADER.size && (size & 3) === 1)
      throw new ConnectionError(
        'FRAMING',
        'what looks like vhost-user, and this is vfio-user: QEMU takes vfio-user-pci for it, or serve the device with --vhost-user',
      );
  }

  #begin(): void {
    const size = new DataView(this.#header.buffer).getUint32(wire.HEADER.messageSize, true);
    if (size < wire.HEADER.size || size > MESSAGE_SIZE_MOST) {
      throw new ConnectionError('FRAMING', `a message of ${size} bytes; 16 to ${MESSAGE_SIZE_MOST} can be`);
    }
    this.#payload = new Uint8Array(size - wire.HEADER.size);
  }

  #complete(): Message | undefined {
    const payload = this.#payload;
    if (payload === undefined || this.#have < wire.HEADER.size + payload.length) return undefined;
    const header = new DataView(this.#header.buffer);
    const flags = header.getUint32(wire.HEADER.flags, true);
    this.#have = 0;
    this.#payload = undefined;
    return {
      id: header.getUint16(wire.HEADER.id, true),
      command: header.getUint16(wire.HEADER.command, true),
      flags,
      error: (flags & wire.VFIO_USER_F_ERROR) === 0 ? 0 : header.getUint32(wire.HEADER.error, true),
      payload: new DataView(payload.buffer),
      fds: this.#fds,
    };
  }
}

/** Makes a message: the header, then the pieces of its payload. */
export function encodeMessage(
  id: number,
  command: number,
  flags: number,
  pieces: readonly Uint8Array[] = [],
  error = 0,
): Uint8Array {
  const size = pieces.reduce((sum, piece) => sum + piece.length, wire.HEADER.size as number);
  const bytes = new Uint8Array(size);
  const header = new DataView(bytes.buffer);
  header.setUint16(wire.HEADER.id, id, true);
  header.setUint16(wire.HEADER.command, command, true);
  header.setUint32(wire.HEADER.messageSize, size, true);
  header.setUint32(wire.HEADER.flags, flags, true);
  header.setUint32(wire.HEADER.error, error, true);
  let at: number = wire.HEADER.size;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}
