import { EventEmitter, once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';

/** What QEMU is asked and told over its monitor. */
export class Qmp {
  readonly #socket: Socket;
  readonly #signal: AbortSignal;
  readonly #events = new EventEmitter();
  readonly #answers: ((answer: { return?: unknown; error?: { desc: string } }) => void)[] = [];

  private constructor(socket: Socket, signal: AbortSignal) {
    this.#socket = socket;
    this.#signal = signal;
    const lines = createInterface({ input: socket });
    lines.on('line', (line) => {
      const message = JSON.parse(line) as { return?: unknown; error?: { desc: string }; event?: string };
      if ('return' in message || 'error' in message) this.#answers.shift()?.(message);
      else if (message.event !== undefined) this.#events.emit(message.event);
    });
    // It closes then. Each tells of it by itself.
    socket.on('error', () => {});
    lines.on('error', () => {});
    socket.on('close', () => {
      for (const answer of this.#answers.splice(0)) answer({ error: { desc: 'QEMU is gone' } });
    });
  }

  /** QEMU's arguments for a monitor at this socket. */
  static args(path: string): string[] {
    return ['-qmp', `unix:${path},server=on,wait=off`];
  }

  /**
   * Waits until QEMU listens at `path`.
   *
   * @param signal - for all that is asked, too.
   */
  static async connect(path: string, signal: AbortSignal): Promise<Qmp> {
    for (;;) {
      signal.throwIfAborted();
      const socket = connect(path);
      try {
        await once(socket, 'connect');
        const qmp = new Qmp(socket, signal);
        await qmp.ask('qmp_capabilities');
        return qmp;
      } catch (error) {
        if (!['ENOENT', 'ECONNREFUSED'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
        await delay(50, undefined, { signal });
      }
    }
  }

  /** @throws Error with what QEMU says against it. */
  async ask(command: string, args: object = {}): Promise<unknown> {
    const signal = this.#signal;
    signal.throwIfAborted();
    let aborted: () => void = () => {};
    const answer = await new Promise<{ return?: unknown; error?: { desc: string } }>((resolve, reject) => {
      aborted = () => reject(signal.reason);
      signal.addEventListener('abort', aborted);
      if (this.#socket.destroyed) resolve({ error: { desc: 'QEMU is gone' } });
      this.#answers.push(resolve);
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
    }).finally(() => signal.removeEventListener('abort', aborted));
    if (answer.error !== undefined) throw new Error(`${command}: ${answer.error.desc}`);
    return answer.return;
  }

  /** Settles when this event comes. */
  async event(name: string, signal: AbortSignal): Promise<void> {
    await once(this.#events, name, { signal });
  }

  close(): void {
    this.#socket.destroy();
  }
}
