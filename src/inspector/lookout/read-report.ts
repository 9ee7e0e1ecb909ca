import type { InspectEvent, SeenDevice } from '../../observe/event.js';
import type { HeldHead } from '../../observe/ring-watch.js';
import { readPacket } from '../../record/packet.js';
import { parseShape } from '../../record/shape.js';
import { ShapeLayout } from '../../record/shape-layout.js';
import { ByteReader } from '../../virtio/byte-codec.js';
import type { Hold } from '../protocol.js';
import type { Ear } from './ear.js';
import type { Numbers } from './numbers.js';
import { REPORT } from './report-writer.js';

/** Reads what a `ReportWriter` wrote, piece by piece, and says it to an ear. */
export class ReportReader {
  readonly #ear: Ear;
  readonly #ahead: number;
  readonly #numbers: Numbers;
  readonly #devices = new Map<number, SeenDevice>();
  #more: Pick<SeenDevice, 'configLayout' | 'featureNames'> = {};

  /**
   * @param ahead - ns that the ear's clock is ahead of the writer's.
   * @param numbers - what both call a connection.
   */
  constructor(ear: Ear, ahead: number, numbers: Numbers) {
    this.#ear = ear;
    this.#ahead = ahead;
    this.#numbers = numbers;
  }

  /** @throws RangeError for what can't be. */
  read(bytes: Uint8Array): void {
    const from = new ByteReader(bytes);
    while (from.left > 0) this.#one(from);
  }

  #one(from: ByteReader): void {
    const kind = from.u8();
    const ear = this.#ear;
    switch (kind) {
      case REPORT.event:
        this.#event(from.f64() + this.#ahead, from.bytes());
        return;
      case REPORT.device: {
        const shape = parseShape(from.text());
        const featureNames = JSON.parse(from.text()) as Record<string, number>;
        this.#more = { featureNames, ...(shape !== undefined && { configLayout: new ShapeLayout(shape) }) };
        return;
      }
      case REPORT.counted: {
        const [connection, queue] = [this.#numbers.ours(from.le32()), from.le32()];
        const [taken, used, kicks] = [from.le64(), from.le64(), from.le64()];
        const [interrupts, suppressed, unkicked] = [from.le64(), from.le64(), from.le64()];
        const counts = { taken, used, kicks, interrupts, suppressed, unkicked };
        ear.counted(connection, queue, counts, from.le32());
        return;
      }
      case REPORT.missed: {
        const [connection, queue, time] = this.#place(from);
        ear.missed(connection, queue, { taken: from.le64(), waiting: from.le32() }, time);
        return;
      }
      case REPORT.missedLines: {
        const [connection, time] = [this.#numbers.ours(from.le32()), from.f64() + this.#ahead];
        ear.missedLines(connection, from.le64(), time);
        return;
      }
      case REPORT.did: {
        const [connection, queue, time] = this.#place(from);
        const what = from.u8() === 1 ? 'hold' : 'release';
        ear.did(connection, queue, what, from.text(), time);
        return;
      }
      case REPORT.ring:
        this.#ring(from);
        return;
      case REPORT.holds: {
        const holds = JSON.parse(from.text()) as Hold[];
        ear.holds(
          holds.map(({ connection, since, ...hold }) => ({
            ...hold,
            connection: this.#numbers.ours(connection),
            since: since + this.#ahead,
          })),
        );
        return;
      }
      case REPORT.hits:
        ear.hits({ id: from.le32(), hits: from.le32(), misfits: from.le32() });
        return;
      default:
        throw new RangeError(`there is no report ${kind}`);
    }
  }

  #event(time: number, bytes: Uint8Array): void {
    const event = readPacket(bytes, time, (connection, queue) => this.#nameOf(connection, queue));
    const its = event.connection;
    const connection =
      event.type === 'connected' ? this.#numbers.came(event.socket, its) : this.#numbers.ours(its);
    if (event.type !== 'connected' && event.type !== 'replaced') {
      this.#ear.event({ ...event, connection });
      return;
    }
    const device = { ...event.device, ...this.#more };
    this.#devices.set(its, device);
    this.#ear.event({ ...event, connection, device } as InspectEvent);
  }

  #place(from: ByteReader): [connection: number, queue: number, time: number] {
    return [this.#numbers.ours(from.le32()), from.le32(), from.f64() + this.#ahead];
  }

  #ring(from: ByteReader): void {
    const [connection, queue, time] = this.#place(from);
    const [inFlight, waiting, reason, count] = [from.le32(), from.le32(), from.text(), from.le32()];
    const heads: HeldHead[] = [];
    for (let i = 0; i < count; i++) {
      const [head, chain, taken] = [from.le32(), from.le64(), from.f64()];
      heads.push(chain === 0 ? { head } : { head, chain, taken: taken + this.#ahead });
    }
    const of = { connection, queue, time, heads, inFlight, waiting };
    if (from.u8() === 0) {
      this.#ear.ring({ ...of, reason });
      return;
    }
    const flags = from.u8();
    const [size, first, entries, base] = [from.le32(), from.le32(), from.le32(), from.le32()];
    const how = { packed: (flags & 1) !== 0, eventIdx: (flags & 2) !== 0 };
    this.#ear.ring({ ...of, copy: { size, first, entries, base, ...how, bytes: from.bytes() } });
  }

  #nameOf(connection: number, queue: number): string {
    return this.#devices.get(connection)?.queues[queue]?.name ?? `queue ${queue}`;
  }
}
