import type { Connection, ServedConnection } from './connections.js';
import type { Abortable } from './virtio/abortable.js';
import type { LogContext } from './virtio/log-context.js';
import type { RingFeatures } from './virtio/ring-features.js';

/** Where a device's file is served by processes that may die, and who hears of them. */
export interface FileServeOptions {
  readonly keeper: true;
  /** Each of these as in `ServeOptions`. */
  readonly vhostUser?: string | number;
  readonly vfioUser?: string;
  readonly vectors?: number;
  readonly maxMemory?: number;
  readonly poll?: boolean | number;
  readonly inband?: boolean;
  readonly features?: RingFeatures;
  readonly signal?: AbortSignal;
  /** A line about what goes wrong, to stderr unless told. What workers have to say of it goes to stderr. */
  warn?(line: string, about?: LogContext & Partial<Connection>): void;
  /** What the device's own options are to be, as `--set` takes them. */
  readonly set?: Readonly<Record<string, string>>;
  /** ms after which a process is killed, and another goes on, that does not come back from the device. Never unless told. */
  readonly stuckAfter?: number;
  /** How many processes are kept ready to take the place of one that dies, 0 to 8. 1 unless told. */
  readonly spares?: number;
  /** `false` when nobody reads what the device prints. To stdout unless told. */
  readonly print?: false;
  /** A front-end came. */
  connected?(socket: string, connection: Connection): void;
  /** It went; `error` says how it broke the protocol, or why it was let go. The next one may come. */
  gone?(socket: string, error: Error | undefined, connection: Connection): void;
}

/** A device's file that is being served. */
export interface FileServer {
  /** As `Server.save`. */
  save(options?: { readonly socket?: string; readonly standing?: boolean }): Promise<Uint8Array>;
  /**
   * Has processes of the file as it is now go on with all front-ends.
   *
   * Rejects with why that can't be: the old ones go on.
   */
  upgrade(): Promise<void>;
  /** As `Server.finished`. */
  readonly finished: Promise<void>;
  /** As `Server.connections`: a front-end is one, however many processes serve it. */
  connections(options?: Abortable): AsyncIterableIterator<ServedConnection>;
  /** Ends its connections and processes, and removes its sockets. Safe to call twice. `await using` waits until the processes have ended. */
  close(): void;
  [Symbol.asyncDispose](): Promise<void>;
}
