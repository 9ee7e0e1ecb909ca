import type { InspectEvent } from '../observe/event.js';
import { RecordingError } from '../record/recording-error.js';
import { RecordingReader } from '../record/recording-reader.js';
import { Model } from './model.js';
import type { Source } from './protocol.js';
import type { Kept } from './queue-model.js';
import type { SourceView } from './source-view.js';

/** Events that are read of a recording. */
const EVENTS = 300_000;
/** Points of a plot, and the shortest time between two, ns. */
const POINTS = 600;
const SPAN = 1e6;
/** Events that are dealt with before others have their turn. */
const TURN = 1000;

const WHOLE: Kept = { items: EVENTS, bytes: 64 << 20, points: 2 * POINTS, others: EVENTS };

/** What a recording tells. */
export class Recorded implements SourceView {
  readonly source: Source;
  readonly model: Model = new Model(WHOLE);
  readonly start = 0;
  readonly epoch: number;
  readonly now: number;

  private constructor(source: Source, epoch: number, now: number) {
    this.source = source;
    this.epoch = epoch;
    this.now = now;
  }

  /**
   * Reads a recording.
   *
   * @param id - of the source.
   * @param pieces - of the file.
   * @param turn - lets others have theirs.
   * @throws RecordingError when there is nothing of one in it.
   */
  static async read(
    id: string,
    name: string,
    pieces: AsyncIterable<Uint8Array>,
    turn: () => Promise<void>,
  ): Promise<Recorded> {
    const reader = new RecordingReader();
    const events: InspectEvent[] = [];
    let damage: string | undefined;
    try {
      for await (const piece of pieces) {
        // What is sent has to be read to its end.
        if (damage !== undefined) continue;
        reader.push(piece);
        damage = await readEvents(reader, events, turn);
      }
      if (damage === undefined) reader.end();
    } catch (error) {
      if (!(error instanceof RecordingError) || events.length === 0) throw error;
      damage = error.message;
    }
    const source: Source = { id, kind: 'recording', name, ...(damage !== undefined && { damage }) };
    const epoch = reader.start === undefined ? 0 : Number(reader.start / 1000n) / 1e3;
    const recorded = new Recorded(source, epoch, events.at(-1)?.time ?? 0);
    await recorded.#hear(events, turn);
    return recorded;
  }

  /** No recording has what lay in memory. */
  ring(connection: number, queue: number): ReturnType<SourceView['ring']> {
    if (this.model.queue(connection, queue) === undefined) return undefined;
    const reason = 'a recording does not have what lay in memory';
    return { connection, queue, time: this.now, layout: 'none', reason };
  }

  pulse(): number {
    return 0;
  }

  holds(): [] {
    return [];
  }

  breakpoints(): [] {
    return [];
  }

  async #hear(events: readonly InspectEvent[], turn: () => Promise<void>): Promise<void> {
    const span = Math.max(this.now / POINTS, SPAN);
    let next = span;
    let heard = 0;
    this.#points(0);
    for (const event of events) {
      for (; event.time >= next; next += span) this.#points(next);
      this.model.hear(event, true);
      heard += 1;
      if (heard % TURN === 0) await turn();
    }
    this.#points(Math.max(next, this.now));
    this.model.discard();
  }

  #points(time: number): void {
    for (const { queues } of this.model.connections)
      for (const queue of queues) this.model.point(queue, time, queue.waiting);
  }
}

/** @returns why no more are read. */
async function readEvents(
  reader: RecordingReader,
  events: InspectEvent[],
  turn: () => Promise<void>,
): Promise<string | undefined> {
  for (let event = reader.next(); event !== undefined; event = reader.next()) {
    events.push(event);
    if (events.length >= EVENTS) return `only its first ${EVENTS} events are shown`;
    if (events.length % TURN === 0) await turn();
  }
  return undefined;
}
