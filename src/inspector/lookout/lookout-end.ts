import type { Listener } from '../../observe/observer.js';
import { CommandError } from '../command-error.js';
import { Lookout } from './lookout.js';
import type { FromLookout, ToLookout } from './lookout-frames.js';
import { REPORT_VERSION, ReportWriter } from './report-writer.js';

/** A lookout that is asked from another process. */
export class LookoutEnd {
  readonly #lookout: Lookout;
  readonly #writer: ReportWriter;
  readonly #send: (from: FromLookout, report?: Uint8Array) => void;
  /** What is done at this moment is said at its end. */
  #busy = false;

  /**
   * @param now - ns.
   * @param origin - what 0 of that is, ns of CLOCK_MONOTONIC.
   * @param device - the name of the device that it will look at.
   */
  constructor(
    now: () => number,
    origin: bigint,
    device: string,
    send: (from: FromLookout, report?: Uint8Array) => void,
  ) {
    this.#send = send;
    this.#writer = new ReportWriter(() => {
      if (!this.#busy) this.#report(false);
    });
    this.#lookout = new Lookout(now, this.#writer, true);
    send({ what: 'begins', version: REPORT_VERSION, origin: `${origin}`, device });
  }

  /** Who hears of the devices of this process. */
  listener(): Listener {
    return this.#lookout.listener();
  }

  /** Does what it is told. */
  take(to: ToLookout): void {
    this.#busy = true;
    let refused: string | undefined;
    try {
      if (to.what === 'look') this.#lookout.look(to.look);
      else if (to.what === 'arm') this.#lookout.arm(to.arms);
      else if (to.what === 'confirm') this.#lookout.confirm(to.connection, to.holds);
      else this.#lookout.run(to.order);
    } catch (error) {
      if (!(error instanceof CommandError)) throw error;
      refused = error.message;
    } finally {
      this.#busy = false;
    }
    this.#report(to.what === 'look');
    if (to.what === 'run') this.#send({ what: 'ran', id: to.id, ...(refused !== undefined && { refused }) });
  }

  /** Says what there is still to say: this process ends. */
  flush(): void {
    this.#report(false);
  }

  /** Nobody asks any more: nothing is held. */
  close(): void {
    this.#lookout.close();
  }

  #report(asked: boolean): void {
    const report = this.#writer.take();
    if (asked || report !== undefined) this.#send({ what: 'seen', asked }, report);
  }
}
