import { GuestMemory } from '../../../memory/guest-memory.js';
import type { VirtioDevice } from '../../../virtio/device.js';
import { Fifo } from '../../fifo.js';
import type { KeptItem, Notes } from '../../keep.js';
import { KeptDurable } from '../../kept-durable.js';
import { KeptInflight } from '../../kept-inflight.js';
import type { PciHost, PciOptions } from '../../pci/device/pci-host.js';
import { VirtioPciFunction } from '../../pci/device/virtio-function.js';
import type { Channel } from '../../ports.js';
import type { Environment, Session, StartSession } from '../../session.js';
import { Turn } from '../../turn.js';
import { decodeDmaMap } from '../codec.js';
import { encodeMessage, Framing, type Message } from '../framing.js';
import * as wire from '../messages.js';
import { decodeVersion, encodeVersion } from '../version.js';
import { ConnectionError, ERRNO, VfioUserError } from '../vfio-user-error.js';
import { Commands } from './commands.js';
import { Dma } from './dma.js';
import { DmaMessages } from './dma-messages.js';
import { Doorbells } from './doorbells.js';
import { Irqs } from './irqs.js';
import { Migration } from './migration.js';
import { Reach } from './reach.js';
import * as records from './records.js';
import { saveOf } from './save.js';
import { Settlement } from './settlement.js';
import { keptMemory } from './shared-memory.js';

/** How a device is served over vfio-user. */
export interface VfioUserOptions extends Pick<PciOptions, 'vectors'> {}

/** Makes the way to serve devices to vfio-user clients such as QEMU's `vfio-user-pci`, as virtio-pci functions. */
export function vfioUser(options: VfioUserOptions = {}): StartSession {
  return (channel, device, environment, ended) =>
    new ServerSession(channel, device, environment, ended, options);
}

/** Serves a device as `vfioUser` does, with a vector for the configuration and one for each queue. */
export const serveVfioUser: StartSession = vfioUser();

/** Bytes of answers that are collected at most. */
const REPLIES_MOST = 65_536;

/** Bytes of commands that are kept while one is being obeyed. */
const BEHIND_MOST = 4 << 20;

/**
 * One client. Messages are served in order, each to its end. Memory that the client keeps to itself is asked for and comes later: nothing
 * here waits for an answer.
 */
class ServerSession implements Session {
  readonly #channel: Channel;
  readonly #environment: Environment;
  readonly #ended: (error?: Error) => void;
  readonly #name: string;
  readonly #framing = new Framing();
  readonly #memory = new GuestMemory();
  readonly #remote: DmaMessages;
  readonly #dma: Dma;
  readonly #irqs: Irqs;
  readonly #doorbells: Doorbells;
  readonly #function: VirtioPciFunction;
  readonly #migration: Migration;
  readonly #commands: Commands;
  /** Where another process goes on with this session if this one dies: what it is told. */
  readonly #settlement: Settlement | undefined;
  readonly #inflight: KeptInflight | undefined;
  readonly #durable: KeptDurable | undefined;
  #serving = false;
  /** What is to be kept of the command that is being obeyed. */
  readonly #notes: Notes[] = [];
  /** What is on record of the function, and of the migration. */
  #kept = { changes: -1, migration: false };
  /** A message is on record that was answered, and not carried out to its end. */
  #pending = false;
  /** What register accesses led to, to be done after they were answered. */
  readonly #work = new Fifo<() => void>();
  /** How many of these, from the first on, must be done before anything else is: up to the last that is no kick. */
  #urgent = 0;
  /** Answers that are sent together. */
  readonly #replies: Uint8Array[] = [];
  #replyBytes = 0;
  /** Messages to be served. */
  readonly #inbox = new Fifo<Message>();
  /** A message that takes many steps, and is at one of them. */
  #current: { readonly message: Message; readonly steps: Iterator<void> } | undefined;
  /** A command is being obeyed, which takes its time: others wait for it, in `#behind`. */
  #held = false;
  readonly #behind = new Fifo<Message>();
  #behindBytes = 0;
  #running = false;
  #paused = false;
  #negotiated = false;
  /** Most descriptors that the client takes in one message. */
  #maxFds: number = wire.DEFAULT_MAX_MSG_FDS;
  /** Nothing more is served: the peer went, or made no sense. */
  #over = false;
  #closed = false;
  /** Another process is to have the client: called once nothing is under way. No command is begun, but answers may be what is waited for. */
  #leaving: (() => void) | undefined;
  #left = false;

  constructor(
    channel: Channel,
    device: VirtioDevice,
    environment: Environment,
    ended: (error?: Error) => void,
    options: VfioUserOptions,
  ) {
    this.#channel = channel;
    this.#environment = environment;
    this.#ended = ended;
    this.#name = device.name;
    const defer = (callback: () => void): void =>
      environment.defer(() => {
        if (!this.#closed) callback();
      });
    const { keep } = environment;
    this.#settlement = keep && new Settlement(keep);
    this.#inflight = keep && new KeptInflight(environment.os, keep, records.INFLIGHT_KEYS);
    this.#durable = keep && new KeptDurable(environment.os, keep);
    this.#remote = new DmaMessages(
      {
        clock: environment.clock,
        send: (bytes) => {
          this.#sendReplies();
          channel.send(bytes);
        },
        reserve: (end) => keep?.settle(0, records.idsNotes(end)),
        failed: (error) => this.#gone(error),
      },
      records.firstId(keep?.kept ?? []),
    );
    this.#dma = new Dma(environment.os, this.#memory, environment.maxMemory);
    const reach = new Reach(this.#memory, this.#remote, defer);
    this.#function = new VirtioPciFunction(
      device,
      this.#memory,
      {
        os: keep === undefined ? environment.os : keptMemory(environment.os, keep),
        clock: environment.clock,
        defer,
        print: environment.print,
        // What a device finds missing because of the end is nobody's fault.
        warn: (line, about) => {
          if (!this.#over) environment.warn(line, about);
        },
        monitor: environment.monitor,
        poll: environment.poll,
        durable: this.#durable,
        activated: () => environment.activated?.(),
        begun: environment.begun,
        ringFeatures: environment.ringFeatures,
      },
      {
        raise: (vector) => this.#irqs.raise(vector),
        intx: (asserted) => this.#irqs.intx(asserted),
        perform: (work) => {
          this.#work.push(work);
          this.#urgent = this.#work.length;
        },
        performKick: (work) => this.#work.push(work),
        mastering: (allowed) => {
          reach.held = !allowed;
          this.#remote.held = !allowed;
        },
        distant: () => (this.#dma.keepsBuffers ? reach : undefined),
        ...this.#keepingPorts,
      },
      // QEMU keeps the MSI-X table to itself: it masks by other means, and nobody would clear the mask bits here.
      { ...options, bar: 0, kind: 'memory', maskedAtReset: false },
    );
    this.#irqs = new Irqs(
      environment.os,
      environment.clock,
      this.#function.vectors,
      (vector, held) => this.#function.holdVector(vector, held),
      (notes) => this.#note(notes),
    );
    this.#doorbells = new Doorbells({
      os: environment.os,
      offsets: this.#function.doorbells.offsets,
      rang: (queues) => {
        for (const queue of queues) this.#function.kick(queue);
        this.#run();
      },
    });
    this.#migration = new Migration(this.#function);
    const maxFds = (): number => this.#maxFds;
    this.#commands = new Commands({
      function: this.#function,
      dma: this.#dma,
      irqs: this.#irqs,
      doorbells: this.#doorbells,
      get maxFds() {
        return maxFds();
      },
      reply: (message, ...pieces) => this.#reply(message, ...pieces),
      replyWith: (message, payload, fds) => this.#replyWith(message, payload, fds),
      note: (notes) => this.#note(notes),
      migration: this.#migration,
      refuse: (message, error) => this.#refuse(message, error),
      hold: () => this.#hold(),
    });
    if (keep !== undefined && keep.kept.length > 0) this.#resume(keep.kept);
    channel.receive({
      received: (bytes, fds) => this.#received(bytes, fds),
      closed: (error) => this.#gone(error),
    });
  }

  replace(device: VirtioDevice): void {
    this.#function.replace(device);
  }

  portray(): Uint8Array {
    return this.#function.portray();
  }

  yield(): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      this.#leaving = () =>
        this.#function.yield((result) => {
          if (!(result instanceof Uint8Array)) {
            this.#leaving = undefined;
            this.#left = false;
            this.#behindBytes = 0;
            this.#run();
            reject(result);
            return;
          }
          // What was read and not begun is still in the socket.
          this.#channel.pause();
          // What they hear is for the other one.
          this.#irqs.close();
          this.#doorbells.close();
          resolve(result);
        });
      this.#run();
    });
  }

  leave(): void {
    this.#closed = true;
    this.#function.leave();
  }

  save(standing: boolean): Promise<Uint8Array> {
    // No message of the client follows on what the device is told after it.
    return saveOf(this.#function, this.#migration, standing).finally(() => {
      if (!this.#closed) this.#run();
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#channel.close();
    // The device may have something to publish, so its memory goes last; but nobody answers messages now.
    this.#remote.close();
    this.#function.close();
    this.#inflight?.close();
    this.#durable?.close();
    this.#irqs.close();
    this.#doorbells.close();
    this.#dma.close();
    for (const fd of this.#framing.abandon()) this.#environment.os.closeFd(fd);
    for (const message of this.#behind) this.#closeFds(message.fds);
    for (const message of this.#inbox) this.#closeFds(message.fds);
    if (this.#current !== undefined) this.#closeFds(this.#current.message.fds);
  }

  #end(error?: Error): void {
    if (this.#closed) return;
    if (error !== undefined) this.#environment.warn(`${this.#name}: vfio-user: ${error.message}`);
    this.close();
    this.#ended(error);
  }

  /** The connection is over; what is being done is let finish. */
  #gone(error?: Error): void {
    if (this.#over) return;
    this.#over = true;
    this.#remote.close();
    if (this.#running) this.#environment.defer(() => this.#end(error));
    else this.#end(error);
  }

  #received(bytes: Uint8Array, fds: readonly number[]): void {
    const closeFds = (refused: readonly number[]): void => this.#closeFds(refused);
    try {
      this.#framing.push(bytes, fds, (message) => this.#came(message), closeFds);
    } catch (error) {
      this.#run();
      this.#gone(error as Error);
    }
    this.#run();
  }

  #came(message: Message): void {
    this.#settlement?.came(message);
    this.#inbox.push(message);
  }

  /** Serves what came, and does after each message what it led to, kicks after the last; others have their turn in between. */
  #run(): void {
    if (this.#running) return;
    this.#running = true;
    const turn = new Turn(this.#environment.clock);
    let late = false;
    while (!late && !this.#over && this.#step()) late = turn.over;
    this.#running = false;
    this.#sendReplies();
    if (!this.#closed) this.#settlement?.flush();
    if (this.#closed || this.#over) return;
    if (this.#leaving !== undefined && !late) {
      const idle = this.#current === undefined && !this.#held && this.#work.length === 0;
      if (idle && !this.#left) {
        this.#left = true;
        this.#leaving();
      }
      return;
    }
    if (late) {
      this.#channel.pause();
      this.#paused = true;
      this.#environment.defer(() => this.#run());
    } else if (this.#paused) {
      this.#paused = false;
      this.#channel.resume();
    }
  }

  /** Does the next thing. @returns whether there was one. */
  #step(): boolean {
    const current = this.#current;
    if (current !== undefined) {
      this.#attempt(current.message, () => {
        if (current.steps.next().done) this.#current = undefined;
      });
      if (this.#current === undefined) this.#closeFds(current.message.fds.splice(0));
      return true;
    }
    // Kicks wait while more is written.
    const leaving = this.#leaving !== undefined;
    const held = this.#held || leaving;
    const next = (held ? undefined : this.#behind.peek()) ?? this.#inbox.peek();
    if (leaving || this.#urgent > 0 || next?.command !== wire.VFIO_USER_REGION_WRITE) {
      const work = this.#work.shift();
      if (work !== undefined) {
        if (this.#urgent > 0) this.#urgent -= 1;
        // The client need not wait for it.
        this.#sendReplies();
        this.#do(work);
        if (this.#pending && this.#urgent === 0) this.#forgetPending();
        return true;
      }
    }
    const message = (held ? undefined : this.#behind.shift()) ?? this.#inbox.shift();
    if (message === undefined) return false;
    if (held && (message.flags & wire.VFIO_USER_F_TYPE_MASK) !== wire.VFIO_USER_F_TYPE_REPLY)
      this.#keep(message);
    else this.#serve(message);
    return true;
  }

  /** @returns what ends it: commands that came meanwhile are served then. */
  #hold(): () => void {
    this.#held = true;
    return () => {
      this.#held = false;
      this.#behindBytes = 0;
      if (!this.#closed) this.#run();
    };
  }

  /** Answers of the client's may be what is waited for, so that it has to be read on: as far as an honest one goes. */
  #keep(message: Message): void {
    this.#behind.push(message);
    this.#behindBytes += wire.HEADER.size + message.payload.byteLength;
    if (this.#behindBytes <= BEHIND_MOST) return;
    this.#gone(
      new ConnectionError('PROTOCOL', `over ${BEHIND_MOST} bytes of commands behind one that waits`),
    );
  }

  /** A bug of ours or a device's costs this client its device, not the others theirs. */
  #do(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#gone(error as Error);
    }
  }

  /** Answers one message, or begins with it. Never throws. */
  #serve(message: Message): void {
    this.#attempt(message, () => {
      if ((message.flags & wire.VFIO_USER_F_TYPE_MASK) === wire.VFIO_USER_F_TYPE_REPLY) {
        this.#remote.answered(message);
        this.#settlement?.done(message);
      } else if ((message.flags & wire.VFIO_USER_F_TYPE_MASK) !== wire.VFIO_USER_F_TYPE_COMMAND) {
        throw new ConnectionError('FRAMING', `a message has flags 0x${message.flags.toString(16)}`);
      } else {
        this.#command(message);
      }
    });
    this.#serving = false;
    if (this.#current === undefined) this.#closeFds(message.fds.splice(0));
  }

  #attempt(message: Message, work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#current = undefined;
      if (error instanceof VfioUserError) this.#refuse(message, error);
      else this.#gone(error as Error);
    }
  }

  #command(message: Message): void {
    const { command } = message;
    this.#serving = true;
    if (!this.#negotiated && command !== wire.VFIO_USER_VERSION) {
      throw new ConnectionError('NEGOTIATION', `${wire.commandName(command)} came before VERSION`);
    }
    if (command === wire.VFIO_USER_VERSION) this.#version(message);
    else {
      const steps = this.#commands.run(message);
      if (steps !== undefined) this.#current = { message, steps };
    }
  }

  #version(message: Message): void {
    if (this.#negotiated) throw new VfioUserError('EINVAL', 'VERSION came twice');
    try {
      const version = decodeVersion(message.payload);
      if (version.major !== wire.VFIO_USER_MAJOR) {
        const text = `the client speaks version ${version.major}.${version.minor}, this is 0.0`;
        throw new ConnectionError('NEGOTIATION', text);
      }
      this.#remote.maxTransfer = Math.min(version.maxDataXferSize, wire.DEFAULT_MAX_DATA_XFER_SIZE);
      this.#maxFds = version.maxMsgFds;
      this.#negotiated = true;
      this.#reply(message, encodeVersion(version.names ?? []));
    } catch (error) {
      this.#replyError(message, ERRNO.EINVAL);
      throw error;
    }
  }

  #reply(message: Message, ...pieces: Uint8Array[]): void {
    this.#answered(message, wire.VFIO_USER_F_TYPE_REPLY, pieces, 0);
  }

  #replyWith(message: Message, payload: Uint8Array, fds: readonly number[]): void {
    if (fds.length === 0 || (message.flags & wire.VFIO_USER_F_NO_REPLY) !== 0) {
      this.#reply(message, payload);
      return;
    }
    // By itself, or the descriptors would be another's.
    this.#sendReplies();
    this.#environment.keep?.settle(0);
    const { id, command } = message;
    this.#channel.send(encodeMessage(id, command, wire.VFIO_USER_F_TYPE_REPLY, [payload]), fds);
    this.#settle(message, true, true);
  }

  /** A command was obeyed, or was not: it is answered, if its sender wants to know. */
  #answered(message: Message, flags: number, pieces: readonly Uint8Array[], errno: number): void {
    const wanted = (message.flags & wire.VFIO_USER_F_NO_REPLY) === 0;
    if (wanted) this.#answer(encodeMessage(message.id, message.command, flags, pieces, errno));
    if (this.#settlement === undefined) return;
    if (wanted) this.#sendReplies();
    this.#settle(message, wanted, (flags & wire.VFIO_USER_F_ERROR) === 0);
  }

  #answer(bytes: Uint8Array): void {
    this.#replies.push(bytes);
    this.#replyBytes += bytes.length;
    if (!this.#running || this.#replyBytes >= REPLIES_MOST) this.#sendReplies();
  }

  #sendReplies(): void {
    const replies = this.#replies.splice(0);
    const size = this.#replyBytes;
    this.#replyBytes = 0;
    if (replies.length <= 1) {
      if (replies.length === 1) this.#channel.send(replies[0]!);
      return;
    }
    const all = new Uint8Array(size);
    let at = 0;
    for (const reply of replies) {
      all.set(reply, at);
      at += reply.length;
    }
    this.#channel.send(all);
  }

  #refuse(message: Message, error: VfioUserError): void {
    this.#environment.warn(`${this.#name}: vfio-user: ${error.message}`);
    this.#replyError(message, ERRNO[error.code]);
  }

  #replyError(message: Message, errno: number): void {
    this.#answered(message, wire.VFIO_USER_F_TYPE_REPLY | wire.VFIO_USER_F_ERROR, [], errno);
  }

  /** @param told - an answer was sent. @param obeyed - and was not refused. */
  #settle(message: Message, told: boolean, obeyed: boolean): void {
    if (this.#settlement === undefined) return;
    if (!this.#settlement.awaits(message)) {
      // The one that was pending when the process before died.
      if (this.#pending && this.#urgent === 0) this.#forgetPending();
      return;
    }
    const all = [...this.#notes.splice(0), ...(obeyed ? [records.notesOf(message)] : [])];
    if (this.#urgent > 0) {
      // It will have had its effect when that is done: until then it would have to be done again.
      all.push({ keep: records.PENDING });
      this.#pending = true;
    } else all.push(...this.#functionNotes());
    const notes = records.together(all);
    const nothing = !told && notes.keep === undefined && notes.drop!.length + notes.put!.length === 0;
    this.#settlement.done(message, nothing ? undefined : notes);
  }

  /** Something that a process after this one has to have. */
  #note(notes: Notes): void {
    if (this.#settlement === undefined) return;
    if (this.#serving) this.#notes.push(notes);
    else this.#settlement.note(notes);
  }

  #forgetPending(): void {
    this.#pending = false;
    const notes = [{ drop: [records.PENDING] }, ...this.#functionNotes()];
    this.#settlement!.note(records.together(notes));
  }

  /** What changed since it was on record. */
  #functionNotes(): Notes[] {
    const notes: Notes[] = [];
    const { changes } = this.#function;
    if (changes !== this.#kept.changes) {
      this.#kept.changes = changes;
      notes.push({ put: [{ key: records.FUNCTION, bytes: this.#function.keep() }] });
    }
    const migration = this.#migration.keep();
    if (migration !== undefined) notes.push({ put: [{ key: records.MIGRATION, bytes: migration }] });
    else if (this.#kept.migration) notes.push({ drop: [records.MIGRATION] });
    this.#kept.migration = migration !== undefined;
    if (this.#inflight !== undefined) notes.push(...this.#inflight.notes());
    return notes;
  }

  get #keepingPorts(): Partial<PciHost> {
    const inflight = this.#inflight;
    if (inflight === undefined) return {};
    return {
      inflight: (queue, size, entries) => inflight.placeOf(queue, size, entries),
      forget: (queue) => inflight.forget(queue),
      changed: () => this.#settlement!.note(records.together(this.#functionNotes())),
    };
  }

  /** Goes on where the session of another process was. */
  #resume(kept: readonly KeptItem[]): void {
    const item = (key: string): KeptItem | undefined => kept.find((each) => each.key === key);
    const again = (from: KeptItem | undefined, act: (message: Message) => void): void => {
      if (from === undefined) return;
      const message = records.messageOf(from);
      act({ ...message, flags: message.flags | wire.VFIO_USER_F_NO_REPLY });
      this.#closeFds(message.fds.splice(0));
    };
    try {
      again(item(records.VERSION), (message) => this.#version(message));
      for (const map of kept.filter(records.isDmaMap))
        again(map, ({ payload, fds }) => this.#dma.map(decodeDmaMap(payload), fds));
      if (item(records.LOGGING) !== undefined) this.#dma.resumeLogging();
      this.#irqs.resume(kept);
      const doorbells = item(records.DOORBELLS);
      if (doorbells !== undefined) this.#doorbells.resume(doorbells.fds);
      const state = item(records.FUNCTION);
      if (state !== undefined) this.#function.resume(state.bytes);
      const migration = item(records.MIGRATION);
      if (migration !== undefined) this.#migration.resume(migration.bytes);
      // It was to stand still for somebody in the process before.
      else this.#function.proceed();
      this.#notes.length = 0;
      this.#kept = { changes: this.#function.changes, migration: migration !== undefined };
      const pending = item(records.PENDING);
      this.#pending = pending !== undefined;
      again(pending, (message) => this.#serve(message));
    } catch (error) {
      this.#environment.defer(() => this.#gone(error as Error));
      return;
    }
    this.#environment.defer(() => this.#run());
  }

  #closeFds(fds: readonly number[]): void {
    for (const fd of fds) this.#environment.os.closeFd(fd);
  }
}
