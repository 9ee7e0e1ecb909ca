import type { Connection } from '../connections.js';
import { LookoutEnd } from '../inspector/lookout/lookout-end.js';
import { encodeFrame, FrameDecoder } from '../keeper/frames.js';
import type { LinuxOs } from '../linux/linux-os.js';
import type { Server } from '../serve.js';
import type { Channel } from '../transports/ports.js';
import { UnknownControlError } from './control-desk.js';
import type { Asked } from './control-places.js';
import { deskName, type FromDesk, type ToDesk } from './desk-frames.js';
import type { Metrics } from './metrics.js';
import type { RecordingEnd } from './record-file.js';

/** How often it is told what was counted, ms: what a process counts after that dies with it. */
const COUNT_EVERY = 250;
/** Bytes that may wait for the desk's disk. */
const ROOM = 64 << 20;

/** A worker's way to the desk. */
export class DeskLine {
  readonly #channel: Channel;
  readonly #decoder = new FrameDecoder<FromDesk>();
  #metrics: Metrics | undefined;
  #asked: Asked | undefined;
  #lookout: LookoutEnd | undefined;
  #last = '';
  #timer: NodeJS.Timeout | undefined;
  /** Bytes of recordings that are not in the file yet. */
  #unwritten = 0;
  #closed = false;

  private constructor(channel: Channel) {
    this.#channel = channel;
    channel.receive({
      received: (bytes, fds) => {
        for (const { body } of this.#decoder.push(bytes, fds)) this.#take(body);
      },
      closed: () => this.close(),
    });
  }

  /** @returns `undefined` where there is no desk. */
  static find(os: LinuxOs): DeskLine | undefined {
    const name = deskName();
    if (name === undefined) return undefined;
    try {
      return new DeskLine(os.connectAbstract(name));
    } catch {
      // It died, which its parent says: the device is served all the same.
      return undefined;
    }
  }

  /** From now on the desk is told what is counted. */
  count(metrics: Metrics): void {
    this.#metrics = metrics;
    this.#timer = setInterval(() => this.#tell(false), COUNT_EVERY);
    this.#timer.unref();
  }

  /** What people ask is asked of these. */
  answer(asked: Asked): void {
    this.#asked = asked;
  }

  /** Where a recording goes. */
  get recording(): RecordingEnd {
    return {
      write: (blocks) => {
        if (this.#closed || this.#unwritten + blocks.length > ROOM) return false;
        this.#unwritten += blocks.length;
        this.#say({ say: 'recorded' }, blocks);
        return true;
      },
      close: () => {},
    };
  }

  /** Has the inspector see what this one serves. @param device - its name. */
  inspect(server: Pick<Server, 'observe'>, device: string): void {
    // Nobody would ever say that nothing is held.
    if (this.#closed) return;
    const now = (): number => Math.round(performance.now() * 1e6);
    const origin = process.hrtime.bigint() - BigInt(now());
    this.#lookout = new LookoutEnd(now, origin, device, (from, report) =>
      this.#say({ say: 'lookout', from }, report),
    );
    server.observe(this.#lookout.listener());
  }

  serving(device: string, connection: Connection): void {
    this.#say({ say: 'serving', device, connection });
  }

  left(): void {
    this.#say({ say: 'left' });
  }

  close(): void {
    if (this.#closed) return;
    this.#tell(false);
    this.#lookout?.flush();
    this.#closed = true;
    this.#lookout?.close();
    clearInterval(this.#timer);
    this.#channel.close();
  }

  #take(body: FromDesk): void {
    switch (body.say) {
      case 'ask':
        void this.#ask(body.id, body.words);
        return;
      case 'count':
        this.#tell(true);
        return;
      case 'written':
        this.#unwritten -= body.size;
        return;
      case 'lookout':
        this.#lookout?.take(body.to);
        return;
    }
  }

  async #ask(id: number, words: readonly string[]): Promise<void> {
    try {
      this.#say({ say: 'answer', id, said: (await this.#asked?.ask(words)) ?? '' });
    } catch (error) {
      const unknown = error instanceof UnknownControlError;
      this.#say({ say: 'answer', id, refused: (error as Error).message, unknown });
    }
  }

  /** @param asked - also when nothing changed. */
  #tell(asked: boolean): void {
    if (this.#metrics === undefined) return;
    const { counted } = this.#metrics;
    const text = JSON.stringify(counted);
    if (text === this.#last && !asked) return;
    this.#last = text;
    this.#say({ say: 'counted', counted });
  }

  #say(body: ToDesk, bytes?: Uint8Array): void {
    if (!this.#closed) this.#channel.send(encodeFrame(body, bytes));
  }
}
