import type { InspectEvent, SeenDevice } from '../../observe/event.js';
import type { RingCounts, Unseen } from '../../observe/ring-watch.js';
import { writePacket } from '../../record/packet.js';
import { shapeText } from '../../record/shape.js';
import { ByteWriter } from '../../virtio/byte-codec.js';
import type { Hold } from '../protocol.js';
import { shapeFrom } from '../queue-shape.js';
import type { Ear, Hits, RingSeen } from './ear.js';

/*
 * What a lookout saw, as bytes: one thing after the other, each a kind and what is of that kind; little-endian. Events are packets as recordings have them.
 */

/** Kinds. A number is never used for another. */
export const REPORT = {
  event: 1,
  counted: 2,
  missed: 3,
  missedLines: 4,
  did: 5,
  ring: 6,
  holds: 7,
  hits: 8,
  device: 9,
} as const;

/** Of what is said here; a reader of another version does not read it. */
export const REPORT_VERSION = 1;

/** Bytes that wait to be asked for: of more, what a driver can cause as often as it likes is only counted; and of too many, all but who comes and goes. */
const ROOM = 1 << 20;
const MOST = 16 << 20;

/** What a person can do without. */
const OFTEN: ReadonlySet<InspectEvent['type']> = new Set([
  'rang',
  'config-read',
  'config-written',
  'config-changed',
  'available',
  'kicked',
  'interrupted',
  'interrupt-suppressed',
  'line',
  'warning',
  'dropped',
]);

/** Writes down what a lookout sees, until somebody takes it. */
export class ReportWriter implements Ear {
  readonly #out = new ByteWriter();
  readonly #urgent: () => void;
  /** By connection: events that were left out. */
  readonly #dropped = new Map<number, number>();
  #holds = '[]';

  /** @param urgent - something is not to wait until somebody asks. */
  constructor(urgent: () => void) {
    this.#urgent = urgent;
  }

  /** What was written, which is gone then. */
  take(): Uint8Array | undefined {
    if (this.#out.length === 0) return undefined;
    const bytes = this.#out.slice();
    this.#out.clear();
    return bytes;
  }

  event(event: InspectEvent): void {
    const { connection, type } = event;
    const out = this.#out;
    const left = type === 'connected' || type === 'gone' ? 0 : out.length;
    if (left > MOST || (left > ROOM && OFTEN.has(type))) {
      this.#dropped.set(connection, (this.#dropped.get(connection) ?? 0) + 1);
      return;
    }
    const dropped = this.#dropped.get(connection);
    if (dropped !== undefined && out.length <= ROOM) {
      this.#dropped.delete(connection);
      this.event({ type: 'dropped', time: event.time, connection, count: dropped });
    }
    if (type === 'connected' || type === 'replaced') this.#device(event.device);
    out.u8(REPORT.event);
    out.f64(event.time);
    const at = out.leave(4);
    writePacket(out, event, connection);
    out.view.setUint32(at, out.length - at - 4, true);
    if (type === 'connected' || type === 'gone') this.#urgent();
  }

  counted(connection: number, queue: number, counts: RingCounts, waiting: number): void {
    const out = this.#begin(REPORT.counted, connection, queue);
    out.le64(counts.taken);
    out.le64(counts.used);
    out.le64(counts.kicks);
    out.le64(counts.interrupts);
    out.le64(counts.suppressed);
    out.le64(counts.unkicked);
    out.le32(waiting);
  }

  missed(connection: number, queue: number, { taken, waiting }: Unseen, time: number): void {
    const out = this.#begin(REPORT.missed, connection, queue);
    out.f64(time);
    out.le64(taken);
    out.le32(waiting);
  }

  missedLines(connection: number, lines: number, time: number): void {
    const out = this.#out;
    out.u8(REPORT.missedLines);
    out.le32(connection);
    out.f64(time);
    out.le64(lines);
  }

  did(connection: number, queue: number, what: 'hold' | 'release', text: string, time: number): void {
    const out = this.#begin(REPORT.did, connection, queue);
    out.f64(time);
    out.u8(what === 'hold' ? 1 : 0);
    out.text(text);
  }

  ring({ connection, queue, time, copy, heads, inFlight, waiting, reason = '' }: RingSeen): void {
    const out = this.#begin(REPORT.ring, connection, queue);
    out.f64(time);
    out.le32(inFlight);
    out.le32(waiting);
    out.text(reason);
    out.le32(heads.length);
    for (const { head, chain = 0, taken = -1 } of heads) {
      out.le32(head);
      out.le64(chain);
      out.f64(taken);
    }
    out.u8(copy === undefined ? 0 : 1);
    if (copy === undefined) return;
    out.u8((copy.packed ? 1 : 0) | (copy.eventIdx ? 2 : 0));
    out.le32(copy.size);
    out.le32(copy.first);
    out.le32(copy.entries);
    out.le32(copy.base);
    out.bytes(copy.bytes);
  }

  holds(holds: readonly Hold[]): void {
    const text = JSON.stringify(holds);
    if (text === this.#holds) return;
    this.#holds = text;
    this.#out.u8(REPORT.holds);
    this.#out.text(text);
    // Whoever goes on for this process is to hold them, too.
    this.#urgent();
  }

  hits({ id, hits, misfits }: Hits): void {
    this.#out.u8(REPORT.hits);
    this.#out.le32(id);
    this.#out.le32(hits);
    this.#out.le32(misfits);
  }

  /** Something of a queue. */
  #begin(kind: number, connection: number, queue: number): ByteWriter {
    const out = this.#out;
    out.u8(kind);
    out.le32(connection);
    out.le32(queue);
    return out;
  }

  /** What no packet has of a device. */
  #device({ configLayout, featureNames }: SeenDevice): void {
    const shape = shapeFrom(configLayout);
    this.#out.u8(REPORT.device);
    this.#out.text(shape === undefined ? '' : shapeText(shape));
    this.#out.text(JSON.stringify(featureNames ?? {}));
  }
}
