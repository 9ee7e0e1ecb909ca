import type { EventPort, Os } from '../../ports.js';
import * as codec from '../codec.js';
import * as wire from '../messages.js';
import type { Requester } from './requester.js';

/** Bytes of sub-regions that the answer may have at first: some 64 of them. */
const ROOM = 64 * wire.SUB_REGION.size;

/**
 * Eventfds of the server's that stand for writes to its registers (DEVICE_GET_REGION_IO_FDS): asked for with the first write to a region, and
 * used once they are there. A server that has none, or refuses, gets messages.
 */
export class ServerDoorbells {
  readonly #os: Os;
  readonly #requester: Requester;
  /** By region. */
  readonly #regions = new Map<number, Map<number, EventPort>>();
  readonly #events: EventPort[] = [];
  #closed = false;

  constructor(os: Os, requester: Requester) {
    this.#os = os;
    this.#requester = requester;
  }

  /** @returns whether there is one for two bytes at this place, and it was rung. More bytes have more to say than that somebody rang. */
  ring(region: number, offset: number, length: number): boolean {
    const known = this.#regions.get(region);
    if (known === undefined) {
      this.#regions.set(region, new Map());
      this.#ask(region, ROOM).catch(() => {});
      return false;
    }
    const event = length === 2 ? known.get(offset) : undefined;
    event?.signal();
    return event !== undefined;
  }

  close(): void {
    this.#closed = true;
    this.#regions.clear();
    for (const event of this.#events.splice(0)) event.close();
  }

  async #ask(region: number, room: number): Promise<void> {
    const command = wire.VFIO_USER_DEVICE_GET_REGION_IO_FDS;
    const { payload, fds } = await this.#requester.askForFds(command, [
      codec.encodeIndex(region, command, room),
    ]);
    const events = this.#adopt(fds);
    const { argsz, parts } = codec.decodeRegionIoFds(payload);
    if (parts === undefined) {
      const needed = argsz - wire.REGION_IO_FDS.size;
      if (needed > room && argsz <= wire.DEFAULT_MAX_DATA_XFER_SIZE) await this.#ask(region, needed);
      return;
    }
    for (const { offset, size, fdIndex } of parts) {
      const event = events[fdIndex];
      if (event !== undefined && (size === 0 || size === 2)) this.#regions.get(region)?.set(offset, event);
    }
  }

  /** Those that are eventfds, where they stood. */
  #adopt(fds: readonly number[]): (EventPort | undefined)[] {
    return fds.map((fd) => {
      if (this.#closed) {
        this.#os.closeFd(fd);
        return undefined;
      }
      try {
        const event = this.#os.adoptEvent(fd);
        this.#events.push(event);
        return event;
      } catch {
        return undefined;
      }
    });
  }
}
