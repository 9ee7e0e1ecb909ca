import { StringDecoder } from 'node:string_decoder';
import type { ReadStream } from 'node:tty';
import { styleText } from 'node:util';
import type { GuestShell, TerminalSize } from '../vm/boot-options.js';
import { ESCAPE_HELP, EscapeKeys } from './escape-keys.js';
import type { Output } from './output.js';
import { SharedScreen } from './shared-screen.js';
import { divert, type StandardStreams } from './standard-streams.js';

/** The guest's end of it. */
export interface GuestKeyboard {
  type(keys: Uint8Array, onRoom: () => void): boolean;
  resize(size: TerminalSize): void;
}

/**
 * The terminal that this program runs in, as the guest's: keys go to the guest's shell, its output comes back. Everything else that this
 * program has to say goes to stderr: on the same screen as lines of their own, or wherever stderr was sent.
 */
export class GuestTerminal {
  readonly #input: ReadStream;
  readonly #decoder = new StringDecoder();
  readonly #screen: SharedScreen;
  readonly #say: (text: string) => void;
  readonly #stderr: Output;
  #end: () => void = () => {};

  /** @param streams - of this process; what is written to them by anybody from now on is shown as lines. */
  constructor(input: ReadStream, { stdout, stderr }: StandardStreams) {
    this.#input = input;
    this.#stderr = stderr;
    this.#screen = new SharedScreen((text) => stdout.write(text));
    this.#say = process.stderr.isTTY ? (text) => this.#screen.lines(text) : (text) => stderr.write(text);
  }

  /** The line that says how many were dropped. */
  get notice(): Output['notice'] {
    return this.#stderr.notice;
  }

  set notice(notice: Output['notice']) {
    this.#stderr.notice = notice;
  }

  /** Shows lines that are not the shell's. */
  write(text: string): void {
    this.#say(text);
  }

  /** A line of a device's, with its name. */
  device(name: string, line: string): void {
    this.#say(`${styleText('cyan', `${name} |`, { stream: process.stderr })} ${line}\n`);
  }

  /** What the guest's shell is to be told of it. */
  get shell(): GuestShell {
    const { TERM } = process.env;
    return {
      // What a guest makes of a name is the guest's affair, but it must be one.
      term: TERM !== undefined && /^[\w.+-]+$/.test(TERM) ? TERM : 'vt100',
      ...size(),
      onOutput: (bytes) => this.#screen.shell(this.#decoder.write(bytes)),
    };
  }

  /**
   * Hands the keyboard to a guest, which is up.
   *
   * @param end - the person wants to end the guest.
   */
  start(guest: GuestKeyboard, end: () => void): void {
    const input = this.#input;
    divert((text) => this.#say(text));
    const keys = new EscapeKeys({
      send: (typed) => {
        if (!guest.type(typed, () => input.resume())) input.pause();
      },
      end,
      help: () => this.#say(ESCAPE_HELP.map((line) => `${line}\n`).join('')),
    });
    const resized = (): void => guest.resize(size());
    process.stdout.on('resize', resized);
    input.setRawMode(true);
    // A terminal that goes away ends the guest.
    input
      .on('data', (typed: Buffer) => keys.type(typed))
      .on('end', end)
      .on('error', end);
    resized();
    this.#end = () => {
      process.stdout.off('resize', resized);
      input
        .removeAllListeners('data')
        .removeAllListeners('end')
        .on('error', () => {});
      input.setRawMode(false);
      input.pause();
    };
  }

  /** The keyboard is this program's again. */
  end(): void {
    this.#end();
    this.#end = () => {};
  }
}

function size(): TerminalSize {
  const { rows, columns } = process.stdout;
  return { rows: rows || 24, columns: columns || 80 };
}
