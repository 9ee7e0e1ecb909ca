import { EventEmitter, once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import { createInterface } from 'node:readline';

/** QEMU's machine protocol, as far as tests need it. */
export class Qmp {
  readonly #socket: Socket;
  readonly #events = new EventEmitter();
  /** Those who wait for an answer, in order. */
  readonly #waiting: ((error: Error | undefined) => void)[] = [];

  private constructor(socket: Socket) {
    this.#socket = socket;
    createInterface({ input: socket }).on('line', (line) => {
      const message = JSON.parse(line) as { error?: { desc: string }; return?: unknown; event?: string };
      if (message.error) this.#waiting.shift()?.(new Error(message.error.desc));
      else if (message.return !== undefined) this.#waiting.shift()?.(undefined);
      else if (message.event) this.#events.emit(message.event);
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      for (const answered of this.#waiting.splice(0)) answered(new Error('QEMU has gone'));
    });
  }

  /** QEMU's arguments for a monitor at this socket. */
  static args(path: string): string[] {
    return ['-qmp', `unix:${path},server=on,wait=off`];
  }

  static async connect(path: string): Promise<Qmp> {
    const socket = createConnection(path);
    await once(socket, 'connect');
    const qmp = new Qmp(socket);
    await qmp.execute('qmp_capabilities');
    return qmp;
  }

  /** Settles when QEMU has answered; rejects with what it says against it. */
  execute(command: string, args: unknown = {}): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push((error) => (error ? reject(error) : resolve()));
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
    });
  }

  /** Settles when this event has come. */
  async event(name: string): Promise<void> {
    await once(this.#events, name);
  }

  close(): void {
    this.#socket.destroy();
  }
}
