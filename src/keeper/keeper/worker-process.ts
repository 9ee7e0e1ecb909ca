import { type ChildProcess, spawn } from 'node:child_process';
import { closeFd } from '../../linux/close-fd.js';
import { closeStranger } from '../../linux/close-stranger.js';
import type { LinuxOs } from '../../linux/linux-os.js';
import type { UnixChannel } from '../../linux/unix-channel.js';
import {
  encodeFrame,
  FORMAT,
  type Frame,
  FrameDecoder,
  type FromWorker,
  type Question,
  type Ready,
} from '../frames.js';

/** How a worker is started. */
export interface WorkerCommand {
  readonly program: string;
  readonly args: readonly string[];
  /** Of the environment, the variable that tells it which descriptor leads here. */
  readonly variable: string;
  /** What else it is to have in its environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Hears what it writes to its standard streams, where these are not this process's. */
  said?(text: string): void;
}

/** What a worker was asked, and how it answered: its bytes and descriptors are the taker's. */
export type Answered = Frame<Extract<FromWorker, { say: 'answer' }>>;

/** How a worker ended. */
export interface WorkerEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** The same in words, such as `died of SIGKILL`. */
  readonly words: string;
}

/** Its standard output and error. */
const INHERITED = ['inherit', 'inherit'] as const;
const PIPES = ['pipe', 'pipe'] as const;
/** Its descriptor there. */
const FD = 3;
/** How long a worker that is of no use any more may take to end, ms. */
const LAST_WORDS = 2000;

/** How long it may take to answer, ms. */
const ANSWER = 10_000;

/** A process that serves one front-end, or waits for one. */
export class WorkerProcess {
  readonly channel: UnixChannel;
  readonly #child: ChildProcess;
  readonly #decoder = new FrameDecoder<FromWorker>();
  #frames: ((frame: Frame<FromWorker>) => void) | undefined;
  #stuck: NodeJS.Timeout | undefined;
  #answered = true;
  /** Resolves with what it said of itself, or with `undefined` when it ended before. */
  readonly ready: Promise<Ready | undefined>;
  /** Resolves when it has taken a front-end up, with when that was, in ns of CLOCK_MONOTONIC. */
  readonly serving: Promise<number>;
  readonly #questions = new Map<number, { answered(frame: Answered): void; failed(why: string): void }>();
  #asked = 0;
  #why: string | undefined;
  /** Resolves when it is gone, and all that it said was heard. */
  readonly ended: Promise<WorkerEnd>;

  constructor(os: LinuxOs, { program, args, variable, env, said }: WorkerCommand) {
    const { channel, fd } = os.createChannel();
    this.channel = channel;
    try {
      this.#child = spawn(program, args, {
        stdio: ['ignore', ...(said === undefined ? INHERITED : PIPES), fd],
        env: { ...process.env, ...env, [variable]: String(FD) },
      });
    } finally {
      closeFd(fd);
    }
    if (said !== undefined)
      for (const stream of [this.#child.stdout!, this.#child.stderr!])
        stream.setEncoding('utf8').on('data', said);
    const heard = new Promise<void>((resolve) => this.#child.once('close', () => resolve()));
    const exit = new Promise<Omit<WorkerEnd, 'words'>>((resolve) => {
      this.#child.once('exit', (code, signal) => resolve({ code, signal }));
      this.#child.once('error', () => resolve({ code: 1, signal: null }));
    });
    let isReady: (ready: Ready | undefined) => void = () => {};
    this.ready = new Promise((resolve) => {
      isReady = resolve;
    });
    let isServing: (at: number) => void = () => {};
    this.serving = new Promise((resolve) => {
      isServing = resolve;
    });
    const silent = new Promise<void>((resolve) => {
      channel.receive({
        received: (bytes, fds) => {
          for (const frame of this.#decoder.push(bytes, fds)) {
            const { body } = frame;
            if (body.say === 'ready') isReady(this.#speaks(body.format) ? body : undefined);
            else if (body.say === 'failed') this.#why = body.why;
            else if (body.say === 'serving') isServing(body.at);
            else if (body.say === 'answer') this.#answers(frame as Answered);
            else if (body.say === 'pong') this.#answered = true;
            else this.#frames?.(frame);
          }
        },
        closed: () => resolve(),
      });
    });
    this.#silence = silent;
    this.ended = exit.then(async ({ code, signal }) => {
      // What it said last may not have been read yet; a process that it started may hold its end open.
      await Promise.race([Promise.all([this.#closed || this.#silence, heard]), after(100)]);
      this.#close();
      isReady(undefined);
      const end = signal === null ? `ended with ${code}` : `died of ${signal}`;
      return { code, signal, words: this.#why === undefined ? end : `can't be had: ${this.#why}` };
    });
  }

  readonly #silence: Promise<void>;
  #closed = false;

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Asks it something. @throws Error with why nothing came of it. */
  ask(question: Question, bytes?: Uint8Array): Promise<Answered> {
    const number = ++this.#asked;
    return new Promise((resolve, reject) => {
      const over = (): void => {
        clearTimeout(timer);
        this.#questions.delete(number);
      };
      const failed = (why: string): void => {
        over();
        reject(new Error(why));
      };
      const timer = setTimeout(() => {
        failed(`worker ${this.pid} has not answered for ${ANSWER / 1000} s, and is killed`);
        this.kill();
      }, ANSWER);
      const answered = (frame: Answered): void => {
        over();
        if (frame.body.refused === undefined) resolve(frame);
        else reject(new Error(frame.body.refused));
      };
      if (this.#closed) failed('it is gone');
      else {
        this.#questions.set(number, { answered, failed });
        this.channel.send(encodeFrame({ say: 'ask', number, question }, bytes));
      }
    });
  }

  #answers(frame: Answered): void {
    const asked = this.#questions.get(frame.body.number);
    if (asked === undefined) for (const fd of frame.fds) closeStranger(fd);
    else asked.answered(frame);
  }

  #speaks(format: number): boolean {
    if (format === FORMAT) return true;
    this.#why = `it speaks format ${format} with its keeper, and this keeper ${FORMAT}: restart the service to have it`;
    this.kill();
    return false;
  }

  /** Says who gets what it says from now on. */
  listen(frames: (frame: Frame<FromWorker>) => void): void {
    this.#frames = frames;
  }

  /** Kills it when it does not come back to its loop for so many ms. */
  watch(stuckAfter: number, stuck: () => void): void {
    this.#stuck = setInterval(() => {
      if (!this.#answered) {
        clearInterval(this.#stuck);
        stuck();
        this.kill();
        return;
      }
      this.#answered = false;
      this.channel.send(encodeFrame({ say: 'ping' }));
    }, stuckAfter).unref();
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  /** It is of no use any more. */
  dismiss(): void {
    this.#close();
    const timer = setTimeout(() => this.kill(), LAST_WORDS).unref();
    void this.ended.then(() => clearTimeout(timer));
  }

  #close(): void {
    this.#closed = true;
    this.#frames = undefined;
    for (const { failed } of [...this.#questions.values()]) failed(`worker ${this.pid} is gone`);
    clearInterval(this.#stuck);
    this.channel.close();
    for (const fd of this.#decoder.abandon()) closeStranger(fd);
  }
}

function after(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}
