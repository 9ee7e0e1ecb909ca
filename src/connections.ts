/** One front-end's connection, from `connected` to `gone`. */
export interface Connection {
  /** 1, 2, 3... within one server. */
  readonly connection: number;
  readonly socket: string;
  readonly transport: 'vhost-user' | 'vfio-user';
}

/** One front-end's connection, as `Server.connections` has it. */
export interface ServedConnection extends Connection {
  /** Resolves when it went, or the server was closed, with how it broke the protocol, if it did. */
  readonly gone: Promise<Error | undefined>;
}

/** Connections that are kept for a loop that is busy: of more, the oldest are forgotten. */
const KEPT = 256;

/** Those who look at a server's connections one after the other. */
export class Connections {
  readonly #open = new Map<number, (error?: Error) => void>();
  readonly #readers = new Set<Reader>();
  #closed = false;

  came(connection: Connection): void {
    if (this.#readers.size === 0) return;
    const gone = new Promise<Error | undefined>((resolve) => {
      this.#open.set(connection.connection, resolve);
    });
    for (const reader of this.#readers) reader.push({ ...connection, gone });
  }

  went(connection: Connection, error: Error | undefined): void {
    this.#open.get(connection.connection)?.(error);
    this.#open.delete(connection.connection);
  }

  close(): void {
    this.#closed = true;
    for (const resolve of this.#open.values()) resolve();
    this.#open.clear();
    for (const reader of this.#readers) reader.end();
    this.#readers.clear();
  }

  /** Those that come from now on, until the server is closed. */
  read(signal: AbortSignal | undefined): AsyncIterableIterator<ServedConnection> {
    const reader = new Reader(signal, () => this.#readers.delete(reader));
    if (this.#closed) reader.end();
    else this.#readers.add(reader);
    return reader;
  }
}

class Reader implements AsyncIterableIterator<ServedConnection> {
  readonly #signal: AbortSignal | undefined;
  readonly #left: () => void;
  readonly #kept: ServedConnection[] = [];
  readonly #abort = (): void => {
    this.end();
    for (const { reject } of this.#waiting.splice(0)) reject(this.#signal!.reason);
  };
  readonly #waiting: {
    resolve(result: IteratorResult<ServedConnection>): void;
    reject(reason: unknown): void;
  }[] = [];
  #ended = false;

  constructor(signal: AbortSignal | undefined, left: () => void) {
    this.#signal = signal;
    this.#left = left;
    signal?.addEventListener('abort', this.#abort, { once: true });
  }

  push(connection: ServedConnection): void {
    const waiting = this.#waiting.shift();
    if (waiting !== undefined) {
      waiting.resolve({ value: connection, done: false });
      return;
    }
    this.#kept.push(connection);
    if (this.#kept.length > KEPT) this.#kept.shift();
  }

  end(): void {
    this.#ended = true;
    this.#signal?.removeEventListener('abort', this.#abort);
    if (this.#signal?.aborted === true) return;
    for (const { resolve } of this.#waiting.splice(0)) resolve({ value: undefined, done: true });
  }

  async next(): Promise<IteratorResult<ServedConnection>> {
    this.#signal?.throwIfAborted();
    const kept = this.#kept.shift();
    if (kept !== undefined) return { value: kept, done: false };
    if (this.#ended) return { value: undefined, done: true };
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  async return(): Promise<IteratorResult<ServedConnection>> {
    this.#left();
    this.#kept.length = 0;
    this.end();
    return { value: undefined, done: true };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
