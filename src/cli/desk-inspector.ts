import { InspectorServer } from '../inspector/http/inspector-server.js';
import { Live } from '../inspector/live.js';
import { NO_ARMS } from '../inspector/lookout/eyes.js';
import { FarLookout } from '../inspector/lookout/far-lookout.js';
import type { FromLookout, ToLookout } from '../inspector/lookout/lookout-frames.js';
import { REPORT_VERSION } from '../inspector/lookout/report-writer.js';
import type { Logger } from './log.js';
import type { Numbered } from './metrics.js';

/** A process that serves, as the inspector hears of it. */
export interface LookedAt {
  /** What its lookout said, with a report. */
  hear(from: FromLookout, report: Uint8Array): void;
  /** It is not there any more. */
  ended(): void;
}

/** The inspector's page for the processes that serve a device: it outlives each of them. */
export class DeskInspector {
  readonly #live: Live;
  readonly #server: InspectorServer;
  readonly #origin: bigint;
  readonly #log: Logger;
  /** What connections are called here: those of several keepers may have the same numbers. */
  readonly #numbers = new Map<string, number>();
  #connections = 0;
  readonly #devices = new Set<string>();

  private constructor(live: Live, server: InspectorServer, origin: bigint, log: Logger) {
    this.#live = live;
    this.#server = server;
    this.#origin = origin;
    this.#log = log;
  }

  /** @throws what `listen` of `node:net` throws when the port can't be had. */
  static async listen(title: string, port: number, host: string, log: Logger): Promise<DeskInspector> {
    const origin = process.hrtime.bigint();
    const now = (): number => Number(process.hrtime.bigint() - origin);
    const live = new Live(title, now, performance.timeOrigin + performance.now());
    const server = await InspectorServer.listen({ title, host, port, live });
    server.unref();
    return new DeskInspector(live, server, origin, log);
  }

  get url(): string {
    return this.#server.url;
  }

  /** A process that serves, or will. @param pid - its number. */
  attend(pid: number, send: (to: ToLookout) => void): LookedAt {
    let lookout: FarLookout | undefined;
    return {
      hear: (from, report) => {
        if (from.what === 'begins') {
          this.#devices.add(from.device);
          this.#live.name = [...this.#devices].join(', ');
          if (from.version === REPORT_VERSION) {
            const ahead = Number(BigInt(from.origin) - this.#origin);
            lookout = this.#live.join((ear) => new FarLookout(send, ear, ahead, this.#numberOf), pid);
          } else {
            // It waits to be told.
            send({ what: 'arm', arms: NO_ARMS });
            this.#log.warn(
              `--inspect: process ${pid} is of another version, and its devices are not shown: restart to see them`,
            );
          }
        } else lookout?.hear(from, report);
      },
      ended: () => {
        if (lookout === undefined) return;
        lookout.ended();
        this.#live.ended(lookout);
      },
    };
  }

  /** A front-end left. */
  left({ socket, connection }: Numbered): void {
    const key = keyOf(socket, connection);
    const number = this.#numbers.get(key);
    this.#numbers.delete(key);
    if (number !== undefined) this.#live.left(number);
  }

  readonly #numberOf = (socket: string, connection: number): number => {
    const key = keyOf(socket, connection);
    const known = this.#numbers.get(key);
    if (known !== undefined) return known;
    this.#connections += 1;
    this.#numbers.set(key, this.#connections);
    return this.#connections;
  };

  close(): void {
    this.#server.close();
  }
}

function keyOf(socket: string, connection: number): string {
  return `${connection} at ${socket}`;
}
