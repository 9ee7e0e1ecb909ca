import type { Duplex } from 'node:stream';
import type { BootOptions, TerminalSize } from './boot-options.js';
import { VmError, type VmErrorCode } from './vm-error.js';

/** Console lines kept for the message of a failure. */
const LAST_LINES = 25;

/** Default limits, in milliseconds. */
const BOOT_TIMEOUT = 60_000;
const SILENCE = 60_000;
/** For a guest that was told to power off. */
const POWEROFF_TIMEOUT = 15_000;

/** The machine around the guest. */
export interface GuestHost {
  /** Delivers what the guest has printed by now; a line that it has not ended only with `unfinished`. */
  drainConsole(unfinished?: boolean): void;
  /** Ends QEMU. */
  end(): void;
}

/** The state of one guest, from its first boot to its end: the host's side of the protocol that `guest-init.ts` describes. */
export class GuestRun {
  readonly #options: BootOptions;
  /** None when there is a shell. */
  readonly #commands: readonly string[];
  /** Of the shell's terminal. */
  #size: TerminalSize | undefined;
  readonly #lastLines: string[] = [];
  #control: Duplex | undefined;
  #host: GuestHost | undefined;
  #received = '';
  /** Commands handed to the guest so far. */
  #started = 0;
  #exitCode: number | undefined;
  #failure: VmError | undefined;
  /** What the kernel said when it panicked. */
  #panic: string | undefined;
  /** Whether a command runs: what the kernel says while it boots and powers off is shown on request only. */
  #running = false;
  /** Runs out when the guest is silent. */
  #alive: NodeJS.Timeout | undefined;
  /** Runs out when what the guest does now takes too long. */
  #deadline: NodeJS.Timeout | undefined;

  constructor(options: BootOptions) {
    this.#options = options;
    const { exec = [], shell } = options;
    this.#commands = typeof exec === 'string' ? [exec] : exec;
    this.#size = shell;
    if (this.#commands.length > 0 === (shell !== undefined))
      throw new RangeError('exec, shell: a guest needs a command or a shell, one of them');
    if (shell !== undefined && !/^[\w.+-]+$/.test(shell.term))
      throw new RangeError(`shell: '${shell.term}' is no kind of terminal`);
  }

  attach(control: Duplex, host: GuestHost): void {
    this.#control = control;
    this.#host = host;
    control.setEncoding('utf8').on('data', (text: string) => this.#receive(text));
    this.#limit('boot', this.#bootTimeout);
  }

  /** No timer of ours runs any more. */
  detach(): void {
    clearTimeout(this.#alive);
    clearTimeout(this.#deadline);
  }

  /** The shell's terminal has another size. */
  resize(size: TerminalSize): void {
    this.#size = size;
    if (this.#running && this.#options.shell) this.#send(`size ${size.rows} ${size.columns}`);
  }

  consoleLine(line: string): void {
    this.#lastLines.push(line);
    if (this.#lastLines.length > LAST_LINES) this.#lastLines.shift();
    this.#panic ??= /Kernel panic - not syncing: (.*)/.exec(line)?.[1];
    if (this.#running || this.#options.verbose) this.#options.onConsole?.(line);
  }

  /** Ends the guest because of an error; the first one counts. */
  fail(error: VmError): void {
    if (this.#failure) return;
    this.#failure = error;
    this.detach();
    this.#host?.end();
  }

  /** QEMU has ended with an exit status or by a signal: what became of the guest? */
  ended(status: number | string, said: string): { exitCode: number } {
    if (this.#failure) throw this.#failure;
    if (this.#panic) throw this.#error('PANIC', `the guest panicked (${this.#panic})`);
    if (status !== 0) throw new VmError('QEMU', `QEMU ended with ${status}${said && `: ${said}`}`);
    // `poweroff` in a shell is one way to leave it.
    if (this.#exitCode === undefined && this.#options.shell && this.#running) return { exitCode: 0 };
    if (this.#exitCode === undefined)
      throw this.#error('GONE', 'the guest went down before its command ended');
    return { exitCode: this.#exitCode };
  }

  #receive(text: string): void {
    this.#received += text;
    const lines = this.#received.split('\n');
    this.#received = lines.pop() ?? '';
    for (const line of lines) this.#message(line.trim());
  }

  #message(line: string): void {
    // Nothing that still comes from a guest which is being ended matters.
    if (this.#failure) return;
    const [verb, ...words] = line.split(' ');
    this.#heard();
    if (verb === 'ready') this.#ready();
    else if (verb === 'exit') this.#exited(Number(words[0]));
    else if (verb === 'unloadable')
      this.fail(this.#error('BUILD', `the guest can't load ${words.join(' ')}`));
  }

  #ready(): void {
    const command = this.#commands[this.#started];
    if (this.#options.shell && !this.#panic) this.#startShell(this.#options.shell.term);
    else if (this.#panic) this.fail(this.#error('PANIC', `the guest panicked (${this.#panic})`));
    else if (command === undefined)
      this.fail(this.#error('GONE', 'the guest rebooted while it ran the last command'));
    else this.#start(command);
  }

  #start(command: string): void {
    this.#begin('command');
    this.#send(`run ${this.#load} ${Buffer.from(command).toString('base64')}`);
  }

  #startShell(term: string): void {
    this.#begin('shell');
    this.#send(`shell ${this.#load} ${term} ${this.#size!.rows} ${this.#size!.columns}`);
  }

  #begin(what: 'command' | 'shell'): void {
    // What the boot printed is out of the way before the command's lines begin.
    this.#host?.drainConsole();
    this.#running = true;
    const first = this.#started++ === 0;
    if (first) this.#options.onReady?.();
    this.#exitCode = undefined;
    // A shell's time goes on over its reboots.
    if (first || what === 'command') this.#limit(what, this.#options.timeout);
  }

  get #load(): string {
    return this.#options.load?.join(',') || '-';
  }

  #exited(status: number): void {
    if (this.#exitCode !== undefined || !(status >= 0 && status <= 255)) return;
    this.#exitCode = status;
    // All that the command printed is in the console's pipe by now, and its last line may have no end.
    this.#host?.drainConsole(true);
    const last = this.#started >= this.#commands.length || status !== 0;
    this.#limit(last ? 'power-off' : 'reboot', last ? POWEROFF_TIMEOUT * this.#slowness : this.#bootTimeout);
    this.#running = false;
    this.#send(last ? 'poweroff' : 'reboot');
  }

  #send(line: string): void {
    this.#control?.write(`${line}\n`);
  }

  #heard(): void {
    const silence = this.#options.silence ?? SILENCE * this.#slowness;
    clearTimeout(this.#alive);
    this.#alive = setTimeout(() => {
      this.fail(this.#error('HANG', `the guest hangs: no sign of life for ${silence / 1000} s`));
    }, silence);
  }

  get #slowness(): number {
    return this.#options.image.needs?.slowness ?? 1;
  }

  get #bootTimeout(): number {
    return this.#options.bootTimeout ?? BOOT_TIMEOUT * this.#slowness;
  }

  #limit(what: string, milliseconds: number | undefined): void {
    clearTimeout(this.#deadline);
    if (milliseconds === undefined) return;
    this.#deadline = setTimeout(() => {
      this.fail(this.#error('HANG', `the guest's ${what} took longer than ${milliseconds / 1000} s`));
    }, milliseconds);
  }

  #error(code: VmErrorCode, message: string): VmError {
    const lines = this.#lastLines.map((line) => `  | ${line}`).join('\n');
    return new VmError(
      code,
      lines ? `${message}; its last lines:\n${lines}` : `${message}, and printed nothing`,
    );
  }
}
