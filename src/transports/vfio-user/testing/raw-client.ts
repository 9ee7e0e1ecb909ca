import type { VirtioDevice } from '../../../virtio/device.js';
import { FakeClock } from '../../../virtio/testing/fake-clock.js';
import type { Keep } from '../../keep.js';
import type { Channel } from '../../ports.js';
import type { Session } from '../../session.js';
import { FakeOs } from '../../testing/fake-os.js';
import { MortalSession } from '../../testing/mortal-session.js';
import { decodeDmaAccess, encodeDmaAccess, encodeRegionAccess, rest } from '../codec.js';
import { type VfioUserOptions, vfioUser } from '../device/server.js';
import { encodeMessage, Framing, type Message } from '../framing.js';
import * as wire from '../messages.js';
import { encodeVersion } from '../version.js';

/** How a client that keeps memory to itself answers; `undefined` for not at all. */
export type DmaAnswer = (message: Message) => { payload?: Uint8Array; errno?: number } | undefined;

/** A served device over a fake operating system, and a client that says what it is told to, sensible or not. */
export class RawClient {
  readonly os: FakeOs = new FakeOs();
  readonly clock: FakeClock = new FakeClock();
  readonly lines: string[] = [];
  readonly warnings: string[] = [];
  /** Where the device's process may die. */
  readonly keeper: MortalSession | undefined;
  readonly #session: Session | undefined;
  /** Set when the session ended by itself. */
  ended: { readonly error: Error | undefined } | undefined;
  /** Replies, and what the server wants, in the order they came. */
  readonly replies: Message[] = [];
  readonly dmaRequests: Message[] = [];
  /** Memory that DMA_READ and DMA_WRITE reach, from address 0. */
  readonly memory: Uint8Array = new Uint8Array(0x10_0000);
  /** Whether the descriptors of replies are left in them. */
  keepsFds = false;
  /** Told of each reply. */
  onReply: (message: Message) => void = () => {};
  /** Answers from `memory` unless told. */
  answerDma: DmaAnswer = (message) => this.#serveDma(message);
  readonly #channel: Channel;
  readonly #framing = new Framing();
  #nextId = 0x7000;

  /** @param device - or what makes one for each process, where that may die. */
  constructor(device: VirtioDevice | (() => VirtioDevice), options: VfioUserOptions = {}) {
    const { channel, fd } = this.os.createChannel();
    this.#channel = channel;
    channel.receive({
      received: (bytes, fds) =>
        this.#framing.push(
          bytes,
          fds,
          (message) => this.#took(message),
          () => {},
        ),
      closed: () => {},
    });
    const start = (server: Channel, served: VirtioDevice, keep?: Keep): Session =>
      vfioUser(options)(
        server,
        served,
        {
          os: this.os,
          clock: this.clock,
          defer: this.os.defer,
          print: (line) => void this.lines.push(line),
          warn: (line) => void this.warnings.push(line),
          keep,
        },
        (error) => {
          this.ended = { error };
        },
      );
    const server = this.os.adoptChannel(fd);
    if (typeof device === 'function')
      this.keeper = new MortalSession(this.os, server, (kept, keep) => start(kept, device(), keep));
    else this.#session = start(server, device);
  }

  get session(): Session {
    return this.#session ?? this.keeper!.session;
  }

  /** Sends bytes as they are. */
  raw(bytes: Uint8Array, fds: readonly number[] = []): void {
    this.#channel.send(bytes, fds);
  }

  /** The device's process dies. */
  die(): void {
    this.keeper!.die();
    this.os.run();
  }

  /** Sends a command without waiting. @returns its id. */
  send(command: number, payload?: Uint8Array, fds: readonly number[] = [], flags = 0): number {
    const id = this.#nextId++ & 0xffff;
    this.raw(encodeMessage(id, command, flags, payload === undefined ? [] : [payload]), fds);
    return id;
  }

  /** Sends a command and returns the reply. */
  ask(command: number, payload?: Uint8Array, fds: readonly number[] = []): Message {
    const id = this.send(command, payload, fds);
    this.os.run();
    return this.take(id);
  }

  /** The reply to this command, which came. */
  take(id: number): Message {
    const at = this.replies.findIndex((reply) => reply.id === id);
    if (at < 0) throw new Error(`no reply to ${id}: ${this.warnings.join('; ')}`);
    return this.replies.splice(at, 1)[0]!;
  }

  /** As `ask`, for a command that must be refused. @returns the errno. */
  refused(command: number, payload?: Uint8Array, fds: readonly number[] = []): number {
    const { error, payload: rest } = this.ask(command, payload, fds);
    if (rest.byteLength !== 0) throw new Error('an error reply has a payload');
    return error;
  }

  negotiate(): void {
    this.ask(wire.VFIO_USER_VERSION, encodeVersion());
  }

  read(region: number, offset: number, count: number): Uint8Array {
    const reply = this.ask(wire.VFIO_USER_REGION_READ, encodeRegionAccess({ region, offset, count }));
    if (reply.error !== 0) throw new Error(`REGION_READ: errno ${reply.error}`);
    return rest(reply.payload, wire.REGION_ACCESS.size);
  }

  /** A posted write has no reply; errors are not seen. */
  write(region: number, offset: number, data: Uint8Array, posted = false): number {
    const payload = new Uint8Array([...encodeRegionAccess({ region, offset, count: data.length }), ...data]);
    if (!posted) return this.ask(wire.VFIO_USER_REGION_WRITE, payload).error;
    this.send(wire.VFIO_USER_REGION_WRITE, payload, [], wire.VFIO_USER_F_NO_REPLY);
    this.os.run();
    return 0;
  }

  hangUp(): void {
    this.#channel.close();
    this.os.run();
  }

  #took(message: Message): void {
    if (!this.keepsFds) for (const fd of message.fds.splice(0)) this.os.closeFd(fd);
    if ((message.flags & wire.VFIO_USER_F_TYPE_MASK) === wire.VFIO_USER_F_TYPE_REPLY) {
      this.replies.push(message);
      this.onReply(message);
      return;
    }
    this.dmaRequests.push(message);
    const answer = this.answerDma(message);
    if (answer !== undefined) this.answer(message, answer);
  }

  /** Answers a DMA_READ or DMA_WRITE, with what is in `memory` unless told. */
  answer(message: Message, answer: ReturnType<DmaAnswer> = this.#serveDma(message)): void {
    const { errno = 0, payload } = answer ?? {};
    const flags = wire.VFIO_USER_F_TYPE_REPLY | (errno === 0 ? 0 : wire.VFIO_USER_F_ERROR);
    const pieces = payload === undefined ? [] : [payload];
    this.raw(encodeMessage(message.id, message.command, flags, pieces, errno));
  }

  #serveDma({ command, payload }: Message): ReturnType<DmaAnswer> {
    const { address, count } = decodeDmaAccess(payload, command);
    const head = encodeDmaAccess(address, count);
    if (command === wire.VFIO_USER_DMA_READ) {
      return { payload: new Uint8Array([...head, ...this.memory.subarray(address, address + count)]) };
    }
    this.memory.set(rest(payload, wire.DMA_ACCESS.size), address);
    return { payload: head };
  }
}
