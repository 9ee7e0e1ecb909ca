import { LoggedView } from '../../../memory/logged-view.js';
import type { MemoryView } from '../../../memory/memory-view.js';
import { overLimit } from '../../memory-limit.js';
import type { EventPort, Mapping } from '../../ports.js';
import type { Environment } from '../../session.js';
import { VHOST_VRING_F_LOG } from '../messages.js';
import { PageLog } from '../page-log.js';
import type { LogDescription, VringAddress } from '../payloads.js';
import type { MemoryTable } from './memory-table.js';
import { Refusal } from './refusal.js';

/**
 * The log of dirty pages (LOG_SHMFD), by which a front-end that moves its guest knows what was written meanwhile. While it is on, all views of
 * guest memory are others, which mark what is written through them; while it is off it costs nothing.
 */
export class DirtyLogging {
  readonly #table: MemoryTable;
  readonly #environment: Environment;
  readonly #warn: (line: string) => void;
  /** VHOST_F_LOG_ALL was accepted. */
  #wanted = false;
  #mapping: Mapping | undefined;
  #log: PageLog | undefined;
  #event: EventPort | undefined;

  constructor(table: MemoryTable, environment: Environment, warn: (line: string) => void) {
    this.#table = table;
    this.#environment = environment;
    this.#warn = warn;
  }

  /** SET_FEATURES: on while VHOST_F_LOG_ALL is among the features; from when there is a log, if there is none yet. */
  want(wanted: boolean): void {
    this.#wanted = wanted;
    this.#update();
  }

  /**
   * SET_LOG_BASE: another log takes the place of the one there was.
   *
   * @param fd - taken over in any case.
   * @throws Refusal or OsError; then the one there was goes on.
   */
  set({ size, offset }: LogDescription, fd: number): void {
    const { os, maxMemory } = this.#environment;
    const needed = PageLog.size(this.#table.end);
    const text = !(size > 0 && Number.isSafeInteger(offset + size))
      ? `a log of ${size} bytes from ${offset} can't be`
      : size < needed
        ? `a log of ${size} bytes, where the guest's memory ends at 0x${this.#table.end.toString(16)}, which takes ${needed}`
        : overLimit(size, maxMemory);
    if (text !== undefined) {
      os.closeFd(fd);
      throw new Refusal(text);
    }
    const mapping = os.map(fd, offset, size);
    const log = new PageLog(mapping.view, {
      marked: () => this.#marked(log),
      outside: (address) => this.#missed(log, address),
    });
    const old = this.#mapping;
    this.#mapping = mapping;
    this.#log = log;
    this.#update();
    old?.release();
  }

  /** SET_LOG_FD: is signalled soon after the log was marked. */
  setEvent(event: EventPort | undefined): void {
    this.#event?.close();
    this.#event = event;
    this.#log?.quiet();
  }

  /** SET_VRING_ADDR while its ring runs: whether and where it is logged may be different now. */
  ringChanged(): void {
    if (this.#table.memory.dirtyLog !== undefined) this.#table.memory.renew();
  }

  /** The device area of a ring, which is logged at an address of its own, or not at all. */
  deviceView(view: MemoryView, { flags, log }: VringAddress): MemoryView {
    if (!(view instanceof LoggedView)) return view;
    return (flags & VHOST_VRING_F_LOG) === 0 ? view.plain : view.as(log);
  }

  close(): void {
    this.#wanted = false;
    this.#update();
    this.#event?.close();
    this.#mapping?.release();
  }

  #update(): void {
    this.#table.memory.dirtyLog = this.#wanted ? this.#log : undefined;
  }

  #marked(log: PageLog): void {
    if (this.#event === undefined) return;
    // What else is written in this turn is told with it.
    this.#environment.defer(() => {
      log.quiet();
      this.#event?.signal();
    });
  }

  #missed(log: PageLog, address: number): void {
    const where = Number.isNaN(address) ? 'above 2^53' : `at 0x${address.toString(16)}`;
    this.#warn(
      `something is written ${where}, and the log of dirty pages ends at 0x${log.end.toString(16)}: it is not marked there`,
    );
  }
}
