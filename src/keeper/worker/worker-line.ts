import { closeFd } from '../../linux/close-fd.js';
import type { LinuxOs } from '../../linux/linux-os.js';
import type { Keep, KeptItem } from '../../transports/keep.js';
import type { Channel } from '../../transports/ports.js';
import {
  type DeviceOutline,
  encodeFrame,
  FORMAT,
  type Frame,
  FrameDecoder,
  type FromKeeper,
  type FromWorker,
  type LookedAt,
  partsOf,
  type Question,
  type ReloadResult,
} from '../frames.js';
import { KeptChannel } from './kept-channel.js';

/** What becomes of a question; the descriptor is this object's. */
export interface Answer {
  readonly at?: number;
  readonly size?: number;
  readonly result?: ReloadResult;
  readonly files?: LookedAt;
  readonly bytes?: Uint8Array;
  readonly fd?: number;
}

/** The front-end that a keeper hands over. */
export interface Handed {
  readonly transport: 'vhost-user' | 'vfio-user';
  /** Its number at the keeper. */
  readonly connection: number;
  readonly channel: Channel;
  readonly keep: Keep;
  /** What is to be restored is for it. */
  readonly first: boolean;
}

/** A worker's way to its keeper, which has it serve one front-end at a time. */
export class WorkerLine {
  readonly #os: LinuxOs;
  readonly #channel: Channel;
  readonly #decoder = new FrameDecoder<FromKeeper>();
  readonly #handed: (handed: Handed) => void;
  readonly #asked: (question: Question, bytes: Uint8Array) => Promise<Answer>;
  #serve: { readonly frame: Frame<FromKeeper>; readonly kept: KeptItem[] } | undefined;
  #served: KeptChannel | undefined;
  /** The front-end that it serves, by its number, until that is said to be over. */
  #current: number | undefined;
  #first = false;

  /**
   * @param fd - what leads to the keeper.
   * @param handed - called with each front-end.
   * @param asked - does what the keeper asks; rejects when it can't.
   * @param lost - the keeper is gone, or has no use for this process any more.
   */
  constructor(
    os: LinuxOs,
    fd: number,
    handed: (handed: Handed) => void,
    asked: (question: Question, bytes: Uint8Array) => Promise<Answer>,
    lost: () => void,
  ) {
    this.#os = os;
    this.#handed = handed;
    this.#asked = asked;
    this.#channel = os.adoptChannel(fd);
    this.#channel.receive({
      received: (bytes, fds) => {
        for (const frame of this.#decoder.push(bytes, fds)) this.#take(frame);
      },
      closed: lost,
    });
  }

  /** A front-end can be served, with this device. @param code - where it is a file's. */
  ready({ id, name, queues, config }: DeviceOutline, code?: { bytes: Uint8Array; files: LookedAt }): void {
    const device = { id, name, queues: queues.map(({ size }) => ({ size })), config: { size: config.size } };
    const body = {
      say: 'ready',
      name,
      format: FORMAT,
      pid: process.pid,
      device,
      ...(code && { files: code.files }),
    } as const;
    this.#channel.send(encodeFrame<FromWorker>(body, code?.bytes));
  }

  /** A driver has started the device. */
  started(): void {
    if (this.#first) this.#say({ say: 'started' });
    this.#first = false;
  }

  /** None can be, and this process ends. */
  failed(why: string): void {
    this.#say({ say: 'failed', why });
  }

  /**
   * A front-end is gone, or to be let go. Only the first word about each counts: the next one may have been handed over since.
   *
   * @param connection - its number.
   * @param error - how it broke the protocol.
   */
  over(connection: number, error: Error | undefined): void {
    if (connection !== this.#current) return;
    this.#current = undefined;
    this.#say({ say: 'over', ...(error !== undefined && { error: error.message }) });
  }

  close(): void {
    this.#channel.close();
  }

  #say(body: FromWorker): void {
    this.#channel.send(encodeFrame(body));
  }

  #take(frame: Frame<FromKeeper>): void {
    const { body } = frame;
    switch (body.say) {
      case 'serve':
        this.#serve = { frame, kept: [] };
        return;
      case 'kept':
        this.#serve!.kept.push(...partsOf(frame, body.items)[0]);
        return;
      case 'go':
        this.#go();
        return;
      case 'settled':
        this.#served?.settled();
        return;
      case 'ping':
        this.#say({ say: 'pong' });
        return;
      case 'ask':
        void this.#answer(body.number, body.question, frame.bytes);
        return;
    }
  }

  async #answer(number: number, question: Question, bytes: Uint8Array): Promise<void> {
    try {
      const { bytes: more, fd, ...answer } = await this.#asked(question, bytes);
      const frame = encodeFrame({ say: 'answer', number, ...answer }, more);
      this.#channel.send(frame, fd === undefined ? [] : [fd]);
      if (fd !== undefined) closeFd(fd);
    } catch (error) {
      this.#say({ say: 'answer', number, refused: error instanceof Error ? error.message : String(error) });
    }
  }

  #go(): void {
    const { frame, kept } = this.#serve!;
    const { body } = frame;
    if (body.say !== 'serve') return;
    const { transport, connection, first = false } = body;
    const channel = new KeptChannel(this.#os.peek(frame.fds[0]!), this.#channel, kept, () =>
      // Whoever closed it may say why.
      setImmediate(() => this.over(connection, undefined)),
    );
    this.#served = channel;
    this.#current = connection;
    this.#first = first;
    this.#handed({ transport, connection, channel, keep: channel, first });
    this.#say({ say: 'serving', at: Number(process.hrtime.bigint()) });
  }
}
