import { type ChildProcess, spawn } from 'node:child_process';
import type { Writable } from 'node:stream';
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
  GIVEN_VARIABLE,
  type Given,
  joined,
  type LookedAt,
  type Question,
  type Ready,
  type ReloadResult,
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

/** What a worker begins with. */
export interface GivenToWorker {
  /** The device's code, as a worker before has read it; what is on the disk otherwise. */
  readonly code?: Uint8Array | undefined;
  /** What the first device goes on from that a driver starts. */
  readonly state?: Uint8Array | undefined;
}

/** What became of code that a worker was to load anew. */
export interface Reloaded {
  readonly result: ReloadResult;
  readonly files: LookedAt;
  /** What it has loaded, if that went well, whatever became of it then. */
  readonly code?: Uint8Array | undefined;
  /** Why it has not answered. */
  readonly why?: string;
  /** It died in that moment of what somebody else did. */
  readonly killed?: boolean;
}

/** Its standard output and error. */
const INHERITED = ['inherit', 'inherit'] as const;
const PIPES = ['pipe', 'pipe'] as const;
/** Its descriptor there. */
const FD = 3;
/** The one from which it reads what it is given. */
const GIVEN_FD = 4;
/** How long a worker that is of no use any more may take to end, ms. */
const LAST_WORDS = 2000;

/** How long it may take to answer, ms. */
const ANSWER = 10_000;

/** A process that serves one front-end, or waits for one. */
export class WorkerProcess {
  readonly channel: UnixChannel;
  readonly #child: ChildProcess;
  readonly #decoder = new FrameDecoder<FromWorker>();
  #code: Uint8Array | undefined;
  #files: LookedAt = [];
  #frames: ((frame: Frame<FromWorker>) => void) | undefined;
  #stuck: NodeJS.Timeout | undefined;
  #answered = true;
  #killed = false;
  #wasReady = false;
  /** Resolves with what it said of itself, or with `undefined` when it ended before. */
  readonly ready: Promise<Ready | undefined>;
  /** Resolves when it has taken a front-end up, with when that was, in ns of CLOCK_MONOTONIC. */
  readonly serving: Promise<number>;
  readonly #questions = new Map<number, { answered(frame: Answered): void; failed(why: string): void }>();
  #asked = 0;
  #why: string | undefined;
  /** Resolves when it is gone, and all that it said was heard. */
  readonly ended: Promise<WorkerEnd>;

  constructor(os: LinuxOs, { program, args, variable, env, said }: WorkerCommand, given: GivenToWorker = {}) {
    this.#code = given.code;
    const { channel, fd } = os.createChannel();
    this.channel = channel;
    const gives = given.code !== undefined || given.state !== undefined;
    try {
      this.#child = spawn(program, args, {
        stdio: [
          'ignore',
          ...(said === undefined ? INHERITED : PIPES),
          fd,
          ...(gives ? (['pipe'] as const) : []),
        ],
        env: {
          ...process.env,
          ...env,
          [variable]: String(FD),
          ...(gives && { [GIVEN_VARIABLE]: String(GIVEN_FD) }),
        },
      });
    } finally {
      closeFd(fd);
    }
    if (gives) give(this.#child.stdio[GIVEN_FD] as Writable, given);
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
            if (body.say === 'ready') isReady(this.#isReady(frame as Frame<Ready>));
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
    this.ended = exit.then(async ({ code, signal }) => {
      // What it said last may not have been read yet; a process that it started may hold its end open.
      await Promise.race([Promise.all([this.#closed || silent, heard]), after(100)]);
      this.#close();
      isReady(undefined);
      const end = signal === null ? `ended with ${code}` : `died of ${signal}`;
      return { code, signal, words: this.#why === undefined ? end : `can't be had: ${this.#why}` };
    });
  }

  #closed = false;

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** The device's code, as it has it; `undefined` where that is none of a file's. */
  get code(): Uint8Array | undefined {
    return this.#code;
  }

  /** What it looked at to load that. */
  get files(): LookedAt {
    return this.#files;
  }

  /** Has it load the device's file anew, or take that code (see `Question`). */
  async reload(code: Uint8Array | undefined, quiet: boolean): Promise<Reloaded> {
    try {
      const { body, bytes } = await this.ask({ what: 'reload', quiet }, code);
      const { result = 'failed', files = [] } = body;
      const loaded = code ?? (bytes.length === 0 ? undefined : bytes);
      if (result === 'reloaded') this.#code = loaded;
      return { result, files, code: loaded };
    } catch (error) {
      const why = (error as Error).message;
      const { signal, words } = await this.ended;
      const killed = signal !== null && !this.#killed;
      return { result: 'failed', files: [], why: this.#killed ? why : `worker ${this.pid} ${words}`, killed };
    }
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

  #isReady({ body, bytes }: Frame<Ready>): Ready | undefined {
    if (!this.#speaks(body.format)) return undefined;
    if (bytes.length > 0) this.#code ??= bytes;
    this.#files = body.files ?? [];
    this.#wasReady = true;
    return body;
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

  /** Its front-end is gone, and another may come. */
  release(): void {
    this.#frames = undefined;
    clearInterval(this.#stuck);
    this.#answered = true;
  }

  kill(): void {
    this.#killed = true;
    this.#child.kill('SIGKILL');
  }

  /** Whether it could serve another front-end. */
  get alive(): boolean {
    return !this.#closed;
  }

  /** It is of no use any more. */
  dismiss(): void {
    this.#close();
    // One that is being started has nothing to end.
    if (!this.#wasReady) this.kill();
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

/** One that dies before it has read it is heard to be gone. */
function give(to: Writable, { code, state }: GivenToWorker): void {
  const body: Given = { code: code?.length };
  to.on('error', () => {}).end(encodeFrame(body, joined([code ?? NOTHING, state ?? NOTHING])));
}

const NOTHING = new Uint8Array();

function after(ms: number): Promise<void> {
  // Somebody may wait for the end, and for nothing else.
  return new Promise((resolve) => setTimeout(resolve, ms));
}
