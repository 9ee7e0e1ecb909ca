import { CommandError } from '../command-error.js';
import type { Ear } from './ear.js';
import type { Arms, CarriedHold, Eyes, Look, QueueOrder } from './eyes.js';
import type { FromLookout, ToLookout } from './lookout-frames.js';
import { Numbers } from './numbers.js';
import { ReportReader } from './read-report.js';

/** A lookout in another process, for who asks it. */
export class FarLookout implements Eyes {
  readonly #send: (to: ToLookout) => void;
  readonly #numbers: Numbers;
  readonly #reader: ReportReader;
  readonly #ahead: number;
  readonly #runs = new Map<number, { readonly done: () => void; readonly failed: (error: Error) => void }>();
  #ids = 0;
  /** It looks at this moment. */
  #looking = false;
  #heard = false;

  /**
   * @param ahead - ns that the ear's clock is ahead of the lookout's.
   * @param numberOf - what the ear calls a connection that the lookout has.
   */
  constructor(
    send: (to: ToLookout) => void,
    ear: Ear,
    ahead: number,
    numberOf: (socket: string, connection: number) => number,
  ) {
    this.#send = send;
    this.#ahead = ahead;
    this.#numbers = new Numbers(numberOf);
    this.#reader = new ReportReader(ear, ahead, this.#numbers);
  }

  /** What it says. @throws RangeError for what can't be read. */
  hear(from: FromLookout, report: Uint8Array): void {
    if (from.what === 'seen') {
      if (from.asked) this.#looking = false;
      if (report.length > 0) this.#heard = true;
      this.#reader.read(report);
    } else if (from.what === 'ran') {
      const run = this.#runs.get(from.id);
      this.#runs.delete(from.id);
      if (from.refused === undefined) run?.done();
      else run?.failed(new CommandError(from.refused));
    }
  }

  /** It will say nothing more. */
  ended(): void {
    const gone = new CommandError('the process that serves this died meanwhile: try again');
    for (const { failed } of this.#runs.values()) failed(gone);
    this.#runs.clear();
  }

  /** One that looks still, or has seen nobody yet, is not asked. */
  look(look: Look): void {
    if (this.#looking || !this.#heard) return;
    this.#looking = true;
    const rings = look.rings.map(({ connection, queue }) => ({
      connection: this.#numbers.its(connection),
      queue,
    }));
    this.#send({ what: 'look', look: { ...look, rings } });
  }

  arm(arms: Arms): void {
    const stops = arms.stops.map((stop) =>
      stop.connection === undefined ? stop : { ...stop, connection: this.#numbers.its(stop.connection) },
    );
    this.#send({ what: 'arm', arms: { ...arms, stops } });
  }

  run(order: QueueOrder): Promise<void> {
    this.#ids += 1;
    const id = this.#ids;
    return new Promise((done, failed) => {
      this.#runs.set(id, { done, failed });
      this.#send({ what: 'run', id, order: { ...order, connection: this.#numbers.its(order.connection) } });
    });
  }

  confirm(connection: number, holds: readonly CarriedHold[]): void {
    const its = holds.map((hold) => ({ ...hold, since: hold.since - this.#ahead }));
    this.#send({ what: 'confirm', connection: this.#numbers.its(connection), holds: its });
  }
}
