import { GuestMemory } from '../../../memory/guest-memory.js';
import type { VirtioDevice } from '../../../virtio/device.js';
import type { PciOptions } from '../../pci/device/pci-host.js';
import { VirtioPciFunction } from '../../pci/device/virtio-function.js';
import type { Channel } from '../../ports.js';
import type { Environment, Session, StartSession } from '../../session.js';
import { Turn } from '../../turn.js';
import { Framing, type Message } from '../framing.js';
import * as wire from '../messages.js';
import { decodeVersion, encodeVersion } from '../version.js';
import { ConnectionError, ERRNO, VfioUserError } from '../vfio-user-error.js';
import { Agenda } from './agenda.js';
import { Answers } from './answers.js';
import { Commands } from './commands.js';
import { Dma } from './dma.js';
import { DmaMessages } from './dma-messages.js';
import { Doorbells } from './doorbells.js';
import { Irqs } from './irqs.js';
import { Keeping } from './keeping.js';
import { Migration } from './migration.js';
import { Reach } from './reach.js';
import { firstId, idsNotes } from './records.js';
import { saveOf } from './save.js';
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
  /** Where another process goes on with this session if this one dies. */
  readonly #keeping: Keeping | undefined;
  readonly #agenda: Agenda;
  readonly #answers: Answers;
  #running = false;
  #paused = false;
  #negotiated = false;
  /** Most descriptors that the client takes in one message. */
  #maxFds: number = wire.DEFAULT_MAX_MSG_FDS;
  /** Nothing more is served: the peer went, or made no sense. */
  #over = false;
  #closed = false;
  /** Another process is to have the client: called once nothing is under way. */
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
    const { os, keep } = environment;
    this.#agenda = new Agenda({
      serve: (message) => this.#serve(message),
      attempt: (message, step) => this.#attempt(message, step),
      done: (message) => this.#closeFds(message.fds.splice(0)),
      perform: (work) => this.#perform(work),
      failed: (error) => this.#gone(error),
      wake: () => {
        if (!this.#closed) this.#run();
      },
    });
    this.#keeping = keep && new Keeping(os, keep);
    this.#answers = new Answers(channel, this.#keeping);
    this.#remote = new DmaMessages(
      {
        clock: environment.clock,
        send: (bytes) => {
          this.#answers.send();
          channel.send(bytes);
        },
        reserve: (end) => keep?.settle(0, idsNotes(end)),
        failed: (error) => this.#gone(error),
      },
      firstId(keep?.kept ?? []),
    );
    this.#dma = new Dma(os, this.#memory, environment.maxMemory);
    const reach = new Reach(this.#memory, this.#remote, defer);
    this.#function = new VirtioPciFunction(
      device,
      this.#memory,
      {
        os: keep === undefined ? os : keptMemory(os, keep),
        clock: environment.clock,
        defer,
        print: environment.print,
        // What a device finds missing because of the end is nobody's fault.
        warn: (line, about) => {
          if (!this.#over) environment.warn(line, about);
        },
        monitor: environment.monitor,
        poll: environment.poll,
        durable: this.#keeping?.durable,
        activated: () => environment.activated?.(),
        begun: environment.begun,
        ringFeatures: environment.ringFeatures,
      },
      {
        raise: (vector) => this.#irqs.raise(vector),
        intx: (asserted) => this.#irqs.intx(asserted),
        perform: (work) => this.#agenda.perform(work),
        performKick: (work) => this.#agenda.performKick(work),
        mastering: (allowed) => {
          reach.held = !allowed;
          this.#remote.held = !allowed;
        },
        distant: () => (this.#dma.keepsBuffers ? reach : undefined),
        ...this.#keeping?.hostPorts,
      },
      // QEMU keeps the MSI-X table to itself: it masks by other means, and nobody would clear the mask bits here.
      { ...options, bar: 0, kind: 'memory', maskedAtReset: false },
    );
    this.#irqs = new Irqs(
      os,
      environment.clock,
      this.#function.vectors,
      (vector, held) => this.#function.holdVector(vector, held),
      (notes) => this.#keeping?.note(notes),
    );
    this.#doorbells = new Doorbells({
      os,
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
      reply: (message, ...pieces) => this.#answers.reply(message, ...pieces),
      replyWith: (message, payload, fds) => this.#answers.replyWith(message, payload, fds),
      note: (notes) => this.#keeping?.note(notes),
      migration: this.#migration,
      refuse: (message, error) => this.#refuse(message, error),
      hold: () => this.#agenda.hold(),
    });
    this.#keeping?.attach({
      function: this.#function,
      migration: this.#migration,
      dma: this.#dma,
      irqs: this.#irqs,
      doorbells: this.#doorbells,
      urgent: () => this.#agenda.urgent,
      negotiate: (version) => this.#version(version),
      serve: (message) => this.#serve(message),
    });
    if (keep !== undefined && keep.kept.length > 0) this.#resume();
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
      this.#agenda.end();
      this.#leaving = () =>
        this.#function.yield((result) => {
          if (!(result instanceof Uint8Array)) {
            this.#leaving = undefined;
            this.#left = false;
            this.#agenda.goOn();
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
    this.#keeping?.close();
    this.#irqs.close();
    this.#doorbells.close();
    this.#dma.close();
    for (const fd of this.#framing.abandon()) this.#environment.os.closeFd(fd);
    for (const message of this.#agenda.left()) this.#closeFds(message.fds);
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
    this.#keeping?.came(message);
    this.#agenda.came(message);
  }

  /** Serves what came, and does after each message what it led to, kicks after the last; others have their turn in between. */
  #run(): void {
    if (this.#running) return;
    this.#running = true;
    this.#answers.collects = true;
    const turn = new Turn(this.#environment.clock);
    let late = false;
    while (!late && !this.#over && this.#agenda.step()) late = turn.over;
    this.#running = false;
    this.#answers.collects = false;
    this.#answers.send();
    if (!this.#closed) this.#keeping?.flush();
    if (this.#closed || this.#over) return;
    if (this.#leaving !== undefined && !late) {
      if (this.#agenda.idle && !this.#left) {
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

  /** Does what a message led to. A bug of ours or a device's costs this client its device, not the others theirs. */
  #perform(work: () => void): void {
    // The client need not wait for it.
    this.#answers.send();
    try {
      work();
    } catch (error) {
      this.#gone(error as Error);
    }
    this.#keeping?.workDone();
  }

  /** Answers one message, or begins with it. Never throws. */
  #serve(message: Message): void {
    this.#attempt(message, () => {
      if ((message.flags & wire.VFIO_USER_F_TYPE_MASK) === wire.VFIO_USER_F_TYPE_REPLY) {
        this.#remote.answered(message);
        this.#keeping?.passed(message);
      } else if ((message.flags & wire.VFIO_USER_F_TYPE_MASK) !== wire.VFIO_USER_F_TYPE_COMMAND) {
        throw new ConnectionError('FRAMING', `a message has flags 0x${message.flags.toString(16)}`);
      } else {
        this.#command(message);
      }
    });
    if (this.#keeping !== undefined) this.#keeping.serving = false;
    if (!this.#agenda.busy) this.#closeFds(message.fds.splice(0));
  }

  #attempt(message: Message, work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#agenda.giveUp();
      if (error instanceof VfioUserError) this.#refuse(message, error);
      else this.#gone(error as Error);
    }
  }

  #command(message: Message): void {
    const { command } = message;
    if (this.#keeping !== undefined) this.#keeping.serving = true;
    if (!this.#negotiated && command !== wire.VFIO_USER_VERSION) {
      throw new ConnectionError('NEGOTIATION', `${wire.commandName(command)} came before VERSION`);
    }
    if (command === wire.VFIO_USER_VERSION) this.#version(message);
    else {
      const steps = this.#commands.run(message);
      if (steps !== undefined) this.#agenda.begin(message, steps);
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
      this.#answers.reply(message, encodeVersion(version.names ?? []));
    } catch (error) {
      this.#answers.replyError(message, ERRNO.EINVAL);
      throw error;
    }
  }

  #refuse(message: Message, error: VfioUserError): void {
    this.#environment.warn(`${this.#name}: vfio-user: ${error.message}`);
    this.#answers.replyError(message, ERRNO[error.code]);
  }

  /** Goes on where the session of another process was. */
  #resume(): void {
    try {
      this.#keeping!.resume();
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
