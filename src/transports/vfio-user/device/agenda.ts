import { Fifo } from '../../fifo.js';
import type { Message } from '../framing.js';
import * as wire from '../messages.js';
import { ConnectionError } from '../vfio-user-error.js';

/** Bytes of commands that are kept while one is being obeyed. */
const BEHIND_MOST = 4 << 20;

/** How things are done when their turn comes. */
export interface AgendaPorts {
  /** Answers a message, or begins with it. */
  serve(message: Message): void;
  /** Takes a step of one that was begun. */
  attempt(message: Message, step: () => void): void;
  /** A message that was begun is done with. */
  done(message: Message): void;
  /** What a register access led to. */
  perform(work: () => void): void;
  /** The client asks too much. */
  failed(error: ConnectionError): void;
  /** There may be something to do. */
  wake(): void;
}

/** What a session has to do, and in which order: messages that came, one after the other, and after each what it led to, kicks after the last. */
export class Agenda {
  readonly #ports: AgendaPorts;
  /** What register accesses led to, to be done after they were answered. */
  readonly #work = new Fifo<() => void>();
  /** How many of these, from the first on, must be done before anything else is: up to the last that is no kick. */
  #urgent = 0;
  /** Messages to be served. */
  readonly #inbox = new Fifo<Message>();
  /** A message that takes many steps, and is at one of them. */
  #current: { readonly message: Message; readonly steps: Iterator<void> } | undefined;
  /** A command is being obeyed, which takes its time: others wait for it, in `#behind`. */
  #held = false;
  readonly #behind = new Fifo<Message>();
  #behindBytes = 0;
  /** No command is begun from now on, but answers may be what is waited for. */
  #ending = false;

  constructor(ports: AgendaPorts) {
    this.#ports = ports;
  }

  /** Whether nothing is under way. */
  get idle(): boolean {
    return this.#current === undefined && !this.#held && this.#work.length === 0;
  }

  /** Whether something is to be done before the next message is served. */
  get urgent(): boolean {
    return this.#urgent > 0;
  }

  /** Whether a message was begun that takes more steps. */
  get busy(): boolean {
    return this.#current !== undefined;
  }

  came(message: Message): void {
    this.#inbox.push(message);
  }

  /** A register access led to this. */
  perform(work: () => void): void {
    this.#work.push(work);
    this.#urgent = this.#work.length;
  }

  /** A kick did, so that it may wait for others. */
  performKick(work: () => void): void {
    this.#work.push(work);
  }

  /** A message takes these steps. */
  begin(message: Message, steps: Iterator<void>): void {
    this.#current = { message, steps };
  }

  /** One that was begun is given up. */
  giveUp(): void {
    this.#current = undefined;
  }

  /** @returns what ends it: commands that came meanwhile are served then. */
  hold(): () => void {
    this.#held = true;
    return () => {
      this.#held = false;
      this.#behindBytes = 0;
      this.#ports.wake();
    };
  }

  /** Another process is to have the client. */
  end(): void {
    this.#ending = true;
  }

  /** It is not, after all. */
  goOn(): void {
    this.#ending = false;
    this.#behindBytes = 0;
  }

  /** Does the next thing. @returns whether there was one. */
  step(): boolean {
    const current = this.#current;
    if (current !== undefined) {
      this.#ports.attempt(current.message, () => {
        if (current.steps.next().done) this.#current = undefined;
      });
      if (this.#current === undefined) this.#ports.done(current.message);
      return true;
    }
    // Kicks wait while more is written.
    const held = this.#held || this.#ending;
    const next = (held ? undefined : this.#behind.peek()) ?? this.#inbox.peek();
    if (this.#ending || this.#urgent > 0 || next?.command !== wire.VFIO_USER_REGION_WRITE) {
      const work = this.#work.shift();
      if (work !== undefined) {
        if (this.#urgent > 0) this.#urgent -= 1;
        this.#ports.perform(work);
        return true;
      }
    }
    const message = (held ? undefined : this.#behind.shift()) ?? this.#inbox.shift();
    if (message === undefined) return false;
    if (held && (message.flags & wire.VFIO_USER_F_TYPE_MASK) !== wire.VFIO_USER_F_TYPE_REPLY)
      this.#keep(message);
    else this.#ports.serve(message);
    return true;
  }

  /** Messages that were not dealt with. */
  *left(): Iterable<Message> {
    yield* this.#behind;
    yield* this.#inbox;
    if (this.#current !== undefined) yield this.#current.message;
  }

  /** Answers of the client's may be what is waited for, so that it has to be read on: as far as an honest one goes. */
  #keep(message: Message): void {
    this.#behind.push(message);
    this.#behindBytes += wire.HEADER.size + message.payload.byteLength;
    if (this.#behindBytes <= BEHIND_MOST) return;
    this.#ports.failed(
      new ConnectionError('PROTOCOL', `over ${BEHIND_MOST} bytes of commands behind one that waits`),
    );
  }
}
