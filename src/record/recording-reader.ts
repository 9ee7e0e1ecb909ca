import type { InspectEvent, SeenDevice } from '../observe/event.js';
import { readPacket } from './packet.js';
import { LINKTYPE_USER0, PcapngReader } from './pcapng.js';
import { RecordingError } from './recording-error.js';

/** Reads a recording piece by piece. */
export class RecordingReader {
  readonly #blocks = new PcapngReader();
  /** Whether the interface of that number is one of ours. */
  readonly #ours: boolean[] = [];
  readonly #devices = new Map<number, SeenDevice>();
  #start: bigint | undefined;

  /** When it began, ns since 1970; `undefined` before the first event. */
  get start(): bigint | undefined {
    return this.#start;
  }

  /** The next piece of the file. */
  push(piece: Uint8Array): void {
    this.#blocks.push(piece);
  }

  /**
   * The next event, its time in ns from the first one on; `undefined` when more of the file is needed.
   *
   * @throws RecordingError where the file is damaged.
   */
  next(): InspectEvent | undefined {
    for (;;) {
      const item = this.#blocks.next();
      if (item === undefined) return undefined;
      if (item.type === 'interface') {
        if (item.iface === 0) this.#ours.length = 0;
        this.#ours[item.iface] = item.link === LINKTYPE_USER0;
        continue;
      }
      if (this.#ours[item.iface] !== true) continue;
      this.#start ??= item.time;
      const event = this.#read(item.bytes, Number(item.time - this.#start), item.offset);
      if (event.type === 'connected' || event.type === 'replaced')
        this.#devices.set(event.connection, event.device);
      return event;
    }
  }

  /** The file has ended. @throws RecordingError when it was cut, or is none of ours. */
  end(): void {
    this.#blocks.end();
    if (!this.#ours.includes(true))
      throw new RecordingError('this is no recording of virtio-misc: there is no connection in it', 0);
  }

  #read(bytes: Uint8Array, time: number, offset: number): InspectEvent {
    try {
      return readPacket(bytes, time, (connection, queue) => this.#nameOf(connection, queue));
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new RecordingError(`an event can't be read: ${error.message}`, offset);
    }
  }

  #nameOf(connection: number, queue: number): string {
    return this.#devices.get(connection)?.queues[queue]?.name ?? `queue ${queue}`;
  }
}
