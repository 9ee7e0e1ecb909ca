import { get64 } from '../../../memory/address.js';
import type { Alarm, Clock } from '../../../virtio/clock.js';
import { encodeDmaAccess, rest } from '../codec.js';
import { encodeMessage, type Message } from '../framing.js';
import * as wire from '../messages.js';
import { ConnectionError } from '../vfio-user-error.js';

/** What sends the messages. */
export interface DmaMessagePorts {
  readonly clock: Clock;
  send(bytes: Uint8Array): void;
  /** Where another process may come after this one: ids below `end` may be under way from now on, that of the next process is not to take. */
  reserve?(end: number): void;
  /** The client does not answer, or answers nonsense: the connection can't go on. */
  failed(error: ConnectionError): void;
}

/** Longest wait for an answer, in ms. */
const ANSWER_TIMEOUT = 5_000;
/** Messages, and bytes of them and of their answers, that are under way at a time: what a socket holds, and little more. */
const MESSAGES_MOST = 64;
const BYTES_MOST = 1 << 20;
/** Ids that are reserved at once: seldom, and few enough that they do not come round before an old answer came. */
const RESERVED = 512;

interface Access {
  readonly command: typeof wire.VFIO_USER_DMA_READ | typeof wire.VFIO_USER_DMA_WRITE;
  readonly address: number;
  /** What is read to, or written from. */
  readonly bytes: Uint8Array;
  readonly done: (there: boolean) => void;
}

/** An access that was sent. */
interface Sent extends Access {
  readonly at: number;
}

/** Memory of the client's by DMA_READ and DMA_WRITE. Nobody waits for an answer; command ids are this end's own. */
export class DmaMessages {
  /** Most bytes in one message, as the client has it. */
  maxTransfer: number = wire.DEFAULT_MAX_DATA_XFER_SIZE;
  readonly #ports: DmaMessagePorts;
  /** By id, the oldest first. */
  readonly #sent = new Map<number, Sent>();
  #sentBytes = 0;
  #waiting: Access[] = [];
  readonly #alarm: Alarm;
  #nextId: number;
  /** How many from there on are reserved. */
  #reserved = 0;
  #closed = false;
  #held = false;

  /** @param firstId - that no answer to a process before can have. */
  constructor(ports: DmaMessagePorts, firstId = 0) {
    this.#ports = ports;
    this.#nextId = firstId;
    this.#alarm = ports.clock.alarm(() => this.#late());
  }

  /** Fills `into`. @param done - called later, with whether the client gave all of it; not at all after `close`. */
  read(address: number, into: Uint8Array, done: (there: boolean) => void): void {
    this.#add(wire.VFIO_USER_DMA_READ, address, into, done);
  }

  /** Writes `from`, which is not to be changed until `done`. */
  write(address: number, from: Uint8Array, done: (there: boolean) => void): void {
    this.#add(wire.VFIO_USER_DMA_WRITE, address, from, done);
  }

  /** Takes a reply; one that nobody waits for is dropped. */
  answered(message: Message): void {
    const access = this.#sent.get(message.id);
    if (access === undefined || access.command !== message.command) return;
    this.#sent.delete(message.id);
    this.#sentBytes -= access.bytes.length;
    const there = (message.flags & wire.VFIO_USER_F_ERROR) === 0;
    if (!there && this.#held) {
      // Without bus mastering a client refuses what it answers from then on: it is asked again.
      this.#waiting.unshift(access);
      return;
    }
    if (there && access.command === wire.VFIO_USER_DMA_READ && !this.#take(access, message)) return;
    access.done(there);
    this.#send();
  }

  /** Whether nothing is sent for now: the function masters no bus. What is under way may still end well. */
  set held(value: boolean) {
    this.#held = value;
    this.#send();
  }

  /** Nothing is sent, called back or waited for any more. */
  close(): void {
    this.#closed = true;
    this.#alarm.close();
    this.#sent.clear();
    this.#waiting = [];
  }

  #add(command: Access['command'], address: number, bytes: Uint8Array, done: (there: boolean) => void): void {
    if (this.#closed) return;
    let pieces = 0;
    let ok = true;
    const one = (there: boolean): void => {
      ok &&= there;
      pieces -= 1;
      if (pieces === 0) done(ok);
    };
    for (let at = 0; at < bytes.length; at += this.maxTransfer) {
      pieces += 1;
      const piece = bytes.subarray(at, at + this.maxTransfer);
      this.#waiting.push({ command, address: address + at, bytes: piece, done: one });
    }
    this.#send();
  }

  /** Sends what waits, as far as there may be more under way. */
  #send(): void {
    let next = 0;
    while (!this.#closed && !this.#held && next < this.#waiting.length) {
      const access = this.#waiting[next]!;
      const { command, address, bytes } = access;
      const full = this.#sentBytes > 0 && this.#sentBytes + bytes.length > BYTES_MOST;
      if (full || this.#sent.size === MESSAGES_MOST) break;
      next += 1;
      const id = this.#takeId();
      if (this.#sent.size === 0) this.#alarm.set(this.#ports.clock.now() + ANSWER_TIMEOUT * 1e6);
      this.#sent.set(id, { ...access, at: this.#ports.clock.now() });
      this.#sentBytes += bytes.length;
      const pieces = [encodeDmaAccess(address, bytes.length)];
      if (command === wire.VFIO_USER_DMA_WRITE) pieces.push(bytes);
      this.#ports.send(encodeMessage(id, command, wire.VFIO_USER_F_TYPE_COMMAND, pieces));
    }
    if (next > 0) this.#waiting = this.#waiting.slice(next);
    if (this.#sent.size === 0 && !this.#closed) this.#alarm.clear();
  }

  #takeId(): number {
    const id = this.#nextId;
    if (this.#reserved === 0) {
      this.#reserved = RESERVED;
      this.#ports.reserve?.((id + RESERVED) & 0xffff);
    }
    this.#reserved -= 1;
    this.#nextId = (id + 1) & 0xffff;
    return id;
  }

  /** @returns whether the answer has what was asked for. */
  #take({ bytes }: Access, { payload }: Message): boolean {
    const { size } = wire.DMA_ACCESS;
    if (
      payload.byteLength !== size + bytes.length ||
      get64(payload, wire.DMA_ACCESS.count) !== bytes.length
    ) {
      const text = `the answer to DMA_READ of ${bytes.length} bytes has ${payload.byteLength - size}`;
      this.#fail('PROTOCOL', text);
      return false;
    }
    bytes.set(rest(payload, size));
    return true;
  }

  /** The alarm is set for the oldest when that is the only one; later ones may have come in its place. */
  #late(): void {
    const [oldest] = this.#sent.values();
    if (oldest === undefined) return;
    const ends = oldest.at + ANSWER_TIMEOUT * 1e6;
    if (this.#ports.clock.now() < ends) {
      this.#alarm.set(ends);
      return;
    }
    const what = `${wire.commandName(oldest.command)} of ${oldest.bytes.length} bytes at 0x${oldest.address.toString(16)}`;
    this.#fail('TIMEOUT', `no answer to ${what} within ${ANSWER_TIMEOUT} ms`);
  }

  #fail(code: 'TIMEOUT' | 'PROTOCOL', text: string): void {
    this.close();
    this.#ports.failed(new ConnectionError(code, text));
  }
}
