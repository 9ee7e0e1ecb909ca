import { Fifo } from '../fifo.js';
import { FLAGS, HEADER, HEADER_SIZE, MAX_PAYLOAD_SIZE, PAYLOAD_SIZE, requestName } from './messages.js';
import { ProtocolError } from './protocol-error.js';

/** One message as it came. */
export interface Message {
  readonly request: number;
  readonly flags: number;
  /** The payload, the message's own copy. */
  readonly payload: DataView;
  /** The descriptors that came with it. Whoever took the message owns them. */
  readonly fds: number[];
}

/** Bytes and descriptors of messages that wait to be taken, for one peer: a peer that waits for its answers sends far less. */
const MAX_BACKLOG = { bytes: 1 << 20, fds: 1024 } as const;

/** Makes messages of a stream of bytes and descriptors. Pure: it owns descriptors, but closes none. */
export class Decoder {
  readonly #ready = new Fifo<Message>();
  readonly #partial = new Uint8Array(HEADER_SIZE + MAX_PAYLOAD_SIZE);
  readonly #header = new DataView(this.#partial.buffer);
  /** Bytes of `#partial` that are there, and that the message needs as far as is known. */
  #filled = 0;
  #needed: number = HEADER_SIZE;
  #fds: number[] = [];
  /** Descriptors that belong to no message. */
  readonly #stray: number[] = [];
  #backlog = 0;
  #backlogFds = 0;

  /**
   * Takes what arrived (see `ChannelHandler.received`).
   *
   * @throws ProtocolError when it is no message; nothing can be had of this stream then but `abandon`.
   */
  push(bytes: Uint8Array, fds: readonly number[]): void {
    let owner: number[] | undefined;
    try {
      for (let at = 0; at < bytes.length; ) {
        if (this.#filled === 0) {
          this.#fds = [];
          owner = this.#fds;
        }
        const take = Math.min(this.#needed - this.#filled, bytes.length - at);
        this.#partial.set(bytes.subarray(at, at + take), this.#filled);
        this.#filled += take;
        at += take;
        if (this.#filled === HEADER_SIZE) this.#needed = HEADER_SIZE + this.#payloadSize();
        if (this.#filled === this.#needed) this.#finish();
      }
    } finally {
      // Descriptors come with a message's first byte, and the kernel ends a read behind those that carried some.
      (owner ?? this.#stray).push(...fds);
    }
    if (this.#stray.length > 0) {
      throw new ProtocolError('DESCRIPTORS', `${this.#where()}: descriptors came in the middle of it`);
    }
    this.#backlogFds += fds.length;
    if (this.#backlog > MAX_BACKLOG.bytes || this.#backlogFds > MAX_BACKLOG.fds) {
      throw new ProtocolError('BACKLOG', `${this.#ready.length} messages came without waiting for an answer`);
    }
  }

  /** The next whole message, or `undefined` until more arrives. */
  next(): Message | undefined {
    const message = this.#ready.shift();
    if (message === undefined) return undefined;
    this.#backlog -= HEADER_SIZE + message.payload.byteLength;
    this.#backlogFds -= message.fds.length;
    return message;
  }

  /** Gives up the stream. @returns every descriptor that it still held, the caller's now. */
  abandon(): number[] {
    const fds = [...this.#stray.splice(0), ...[...this.#ready].flatMap((message) => message.fds)];
    if (this.#filled > 0) fds.push(...this.#fds);
    this.#ready.clear();
    this.#filled = 0;
    return fds;
  }

  #payloadSize(): number {
    const flags = this.#header.getUint32(HEADER.flags, true);
    const size = this.#header.getUint32(HEADER.size, true);
    // There the upper half is a command, the first one is 1, and the message's size and its flags, which are 0, follow.
    if (this.#header.getUint32(HEADER.request, true) >>> 16 === 1 && flags >= 16 && size === 0) {
      throw new ProtocolError(
        'VERSION',
        'a message that looks like vfio-user, and this is vhost-user: QEMU takes vhost-user-test-device-pci for it, or serve the device with --vfio-user',
      );
    }
    if ((flags & FLAGS.VERSION_MASK) !== FLAGS.VERSION) {
      const version = flags & FLAGS.VERSION_MASK;
      throw new ProtocolError('VERSION', `${this.#where()}: version ${version} instead of ${FLAGS.VERSION}`);
    }
    if (size > MAX_PAYLOAD_SIZE) {
      throw new ProtocolError(
        'SIZE',
        `${this.#where()}: ${size} bytes of payload, more than ${MAX_PAYLOAD_SIZE}`,
      );
    }
    return size;
  }

  #finish(): void {
    this.#ready.push({
      request: this.#header.getUint32(HEADER.request, true),
      flags: this.#header.getUint32(HEADER.flags, true),
      payload: new DataView(this.#partial.buffer.slice(HEADER_SIZE, this.#filled)),
      fds: this.#fds,
    });
    this.#backlog += this.#filled;
    this.#filled = 0;
    this.#needed = HEADER_SIZE;
  }

  #where(): string {
    return this.#filled < HEADER_SIZE
      ? 'a header'
      : requestName(this.#header.getUint32(HEADER.request, true));
  }
}

/** @throws ProtocolError when the payload of a request from a front-end can't be that request's, or it is a reply. */
export function checkRequest({ request, flags, payload }: Message): void {
  if ((flags & FLAGS.REPLY) !== 0) {
    throw new ProtocolError('FLAGS', `${requestName(request)}: a reply, where a request belongs`);
  }
  const [least, most] = PAYLOAD_SIZE.get(request) ?? [0, MAX_PAYLOAD_SIZE];
  if (payload.byteLength < least || payload.byteLength > most) {
    const right = least === most ? `${least}` : `${least} to ${most}`;
    throw new ProtocolError(
      'SIZE',
      `${requestName(request)}: ${payload.byteLength} bytes of payload instead of ${right}`,
    );
  }
}

/** @throws ProtocolError unless exactly `count` descriptors came with the message. */
export function checkDescriptors({ request, fds }: Message, count: number): void {
  if (fds.length !== count) {
    throw new ProtocolError(
      'DESCRIPTORS',
      `${requestName(request)}: ${fds.length} descriptors came instead of ${count}`,
    );
  }
}

/**
 * The bytes of one message.
 *
 * @param flags - `FLAGS.REPLY`, `FLAGS.NEED_REPLY` or 0; the version is added.
 */
export function encodeMessage(request: number, flags: number, payload?: Uint8Array): Uint8Array {
  const size = payload?.length ?? 0;
  const bytes = new Uint8Array(HEADER_SIZE + size);
  const header = new DataView(bytes.buffer);
  header.setUint32(HEADER.request, request, true);
  header.setUint32(HEADER.flags, flags | FLAGS.VERSION, true);
  header.setUint32(HEADER.size, size, true);
  if (payload !== undefined) bytes.set(payload, HEADER_SIZE);
  return bytes;
}
