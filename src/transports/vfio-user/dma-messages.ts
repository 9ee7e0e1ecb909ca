import { get64 } from '../../memory/address.js';
import { MemoryError } from '../../memory/memory-error.js';
import { encodeDmaAccess, rest } from './codec.js';
import { encodeMessage, type Message } from './framing.js';
import * as wire from './messages.js';
import type { RemoteMemory } from './remote-view.js';
import { ConnectionError } from './vfio-user-error.js';

/** What sends the messages, and waits. */
export interface DmaMessagePorts {
  send(bytes: Uint8Array): void;
  /** As `Channel.pump`: the answer arrives through `answered`, other messages are served meanwhile. */
  pump(timeout: number): boolean;
  /** Nanoseconds. */
  now(): number;
  defer(callback: () => void): void;
  /** The client does not answer, or answers nonsense: the connection can't go on. */
  failed(error: ConnectionError): void;
}

/** Longest wait for one answer, in ms. */
const ANSWER_TIMEOUT = 5_000;
/** Longest wait for all answers between two turns of the event loop, in ms: others in this process wait too. */
const TURN_TIMEOUT = 10_000;

/** Memory of the client's by DMA_READ and DMA_WRITE, one at a time, each waited for. Command ids are this end's own. */
export class DmaMessages implements RemoteMemory {
  /** Most bytes in one message, as the client has it. */
  maxTransfer: number = wire.DEFAULT_MAX_DATA_XFER_SIZE;
  readonly #ports: DmaMessagePorts;
  #nextId = 0;
  #awaiting: { readonly id: number; readonly command: number; answer: Message | undefined } | undefined;
  /** Why nothing can be reached: for good, or until `resume`. */
  #stopped: 'closed' | 'abandoned' | undefined;
  #turnEnds: number | undefined;
  #held = false;

  constructor(ports: DmaMessagePorts) {
    this.#ports = ports;
  }

  /** Whether the caller is inside `read` or `write`. */
  get waiting(): boolean {
    return this.#awaiting !== undefined;
  }

  read(address: number, into: Uint8Array, start: number, length: number): void {
    for (let done = 0; done < length; ) {
      const count = Math.min(length - done, this.maxTransfer);
      const answer = this.#ask(wire.VFIO_USER_DMA_READ, address + done, count);
      const { size } = wire.DMA_ACCESS;
      if (
        answer.payload.byteLength !== size + count ||
        get64(answer.payload, wire.DMA_ACCESS.count) !== count
      ) {
        this.#fail(
          'PROTOCOL',
          `the answer to DMA_READ of ${count} bytes has ${answer.payload.byteLength - size}`,
        );
        throw new MemoryError('UNMAPPED', address, length);
      }
      into.set(rest(answer.payload, size), start + done);
      done += count;
    }
  }

  write(address: number, from: Uint8Array, start: number, length: number): void {
    for (let done = 0; done < length; ) {
      const count = Math.min(length - done, this.maxTransfer);
      const data = from.subarray(start + done, start + done + count);
      this.#ask(wire.VFIO_USER_DMA_WRITE, address + done, count, data);
      done += count;
    }
  }

  /** Takes a reply; one that nobody waits for any more is dropped. */
  answered(message: Message): void {
    const awaiting = this.#awaiting;
    if (awaiting === undefined || message.id !== awaiting.id || message.command !== awaiting.command) return;
    awaiting.answer ??= message;
  }

  /** Nothing more is waited for until `resume`: every access fails at once. */
  abandon(): void {
    this.#stopped ??= 'abandoned';
  }

  resume(): void {
    if (this.#stopped === 'abandoned') this.#stopped = undefined;
  }

  /** Whether accesses are suspended: the function masters no bus. One that is under way may still end well. */
  set held(value: boolean) {
    this.#held = value;
  }

  /** Every access fails from now on. */
  close(): void {
    this.#stopped = 'closed';
  }

  #ask(command: number, address: number, count: number, data?: Uint8Array): Message {
    if (this.#stopped !== undefined) throw new MemoryError('UNMAPPED', address, count);
    if (this.#held) throw new MemoryError('SUSPENDED', address, count);
    if (this.#awaiting !== undefined) throw new TypeError('a DMA message was begun inside another');
    const begun = this.#ports.now();
    if (begun >= this.#turnEnd(begun)) {
      this.#fail('TIMEOUT', `answers to DMA messages took over ${TURN_TIMEOUT} ms in all`);
      throw new MemoryError('UNMAPPED', address, count);
    }
    const id = this.#nextId;
    this.#nextId = (this.#nextId + 1) & 0xffff;
    const awaiting = { id, command, answer: undefined as Message | undefined };
    this.#awaiting = awaiting;
    try {
      const pieces = [encodeDmaAccess(address, count)];
      if (data !== undefined) pieces.push(data);
      this.#ports.send(encodeMessage(id, command, wire.VFIO_USER_F_TYPE_COMMAND, pieces));
      this.#wait(
        awaiting,
        begun,
        `${wire.commandName(command)} of ${count} bytes at 0x${address.toString(16)}`,
      );
    } finally {
      this.#awaiting = undefined;
    }
    const { answer } = awaiting;
    if (answer === undefined || (answer.flags & wire.VFIO_USER_F_ERROR) !== 0) {
      // Without bus mastering a client refuses what it answers from then on.
      throw new MemoryError(answer !== undefined && this.#held ? 'SUSPENDED' : 'UNMAPPED', address, count);
    }
    return answer;
  }

  /** When this turn of the event loop has waited enough, in ns. */
  #turnEnd(now: number): number {
    if (this.#turnEnds === undefined) {
      this.#turnEnds = now + TURN_TIMEOUT * 1e6;
      this.#ports.defer(() => {
        this.#turnEnds = undefined;
      });
    }
    return this.#turnEnds;
  }

  /** Serves messages until the answer is there, or will not come. */
  #wait(awaiting: { answer: Message | undefined }, begun: number, what: string): void {
    const ends = Math.min(begun + ANSWER_TIMEOUT * 1e6, this.#turnEnd(begun));
    while (awaiting.answer === undefined && this.#stopped === undefined) {
      const left = Math.ceil((ends - this.#ports.now()) / 1e6);
      if (left <= 0) {
        this.#fail('TIMEOUT', `no answer to ${what} within ${Math.round((ends - begun) / 1e6)} ms`);
      } else if (!this.#ports.pump(left) && this.#ports.now() < ends) {
        // The channel is closed; its handler hears of that by itself.
        this.close();
      }
    }
  }

  #fail(code: 'TIMEOUT' | 'PROTOCOL', text: string): void {
    this.close();
    this.#ports.failed(new ConnectionError(code, text));
  }
}
