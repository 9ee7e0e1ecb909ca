import type { KeptItem, Notes } from '../../keep.js';
import { isDurable } from '../../kept-durable.js';
import type { Message } from '../codec.js';
import { REQUEST } from '../messages.js';
import { decodeVringState } from '../payloads.js';
import * as records from './records.js';
import type { RingStop } from './ring.js';
import type { VhostDevice } from './vhost-device.js';

/** What a session in the next process is told of this one, beside messages: what is on record of the rings and of the configuration space, and what is not yet. */
export class SessionRecord {
  readonly #device: VhostDevice;
  /** Those that stand still. */
  readonly #standing = new Map<number, RingStop | undefined>();
  /** Those that a queue is over. */
  readonly #live = new Set<number>();
  /** Whether a reset is put off. */
  #pending = false;
  #config: Uint8Array;

  constructor(device: VhostDevice) {
    this.#device = device;
    this.#config = device.config;
  }

  /**
   * What is to be kept of a request.
   *
   * @param reply - the payload that it was answered with; without one it was carried out, unless it was refused.
   */
  notes(message: Message, reply: Uint8Array | undefined, refused: boolean): Notes {
    const { request } = message;
    const all = [records.notesOf(message, refused), ...this.#device.notes()];
    const stops = request === REQUEST.GET_VRING_BASE || request === REQUEST.GET_VRING_BASE_SKIP_DRAIN;
    if (stops && reply !== undefined) {
      const { index, num } = decodeVringState(new DataView(reply.buffer, reply.byteOffset));
      if (index < this.#device.queueCount) all.push(records.stoppedNotes(index, num));
    }
    for (let index = 0; index < this.#device.queueCount; index++) {
      const live = this.#device.isLive(index);
      if (live !== this.#live.has(index)) all.push(records.liveNotes(index, live));
      if (live) this.#live.add(index);
      else this.#live.delete(index);
      const stop = this.#device.stopOf(index);
      if (stop !== this.#standing.get(index)) all.push(records.standingNotes(index, stop));
      this.#standing.set(index, stop);
    }
    const { resetPending } = this.#device;
    if (resetPending !== this.#pending) all.push(records.pendingNotes(resetPending));
    this.#pending = resetPending;
    return {
      drop: all.flatMap(({ drop = [] }) => drop),
      keep: all[0]!.keep,
      put: [...all.flatMap(({ put = [] }) => put), ...this.configNotes()],
    };
  }

  /** The configuration space, if it is not on record as it is. */
  configNotes(): NonNullable<Notes['put']> {
    const { config } = this.#device;
    if (config.every((byte, i) => byte === this.#config[i])) return [];
    this.#config = config;
    return [{ key: records.CONFIG, bytes: config }];
  }

  /**
   * Goes on where the session of another process was.
   *
   * @param tell - carries a message out, which was carried out or refused before.
   */
  restore(kept: readonly KeptItem[], tell: (message: Message) => void, warn: (line: string) => void): void {
    const device = this.#device;
    for (const item of records.ordered(kept)) {
      if (isOthers(item)) continue;
      const standing = records.standingRing(item);
      const live = records.liveRing(item);
      if (item.key === records.CONFIG) device.restoreConfig(item.bytes);
      else if (item.key === records.PENDING) {
        device.restorePending();
        this.#pending = true;
      } else if (live !== undefined) this.#goOn(live, warn);
      else if (standing !== undefined) {
        device.stand(standing.index, standing.stop);
        this.#standing.set(standing.index, standing.stop);
      } else tell(records.messageOf(item));
    }
    this.#config = device.config;
    device.wake();
  }

  #goOn(ring: number, warn: (line: string) => void): void {
    this.#live.add(ring);
    try {
      this.#device.goOn(ring);
    } catch (error) {
      warn(`ring ${ring} is not gone on with: ${(error as Error).message}`);
    }
  }
}

/** Whether an item is memory that somebody else has taken: shared, durable, or of what is in flight. */
function isOthers(item: KeptItem): boolean {
  return (
    records.isSharedFile(item) ||
    records.sharedMemoryOf(item) !== undefined ||
    isDurable(item) ||
    records.INFLIGHT_KEYS.queueOf(item) !== undefined
  );
}
