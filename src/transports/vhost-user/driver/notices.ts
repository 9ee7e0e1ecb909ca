import { FLAGS, REQUEST } from '../messages.js';
import { encodeVringState } from '../payloads.js';
import type { Requester } from './requester.js';

/** Kicks of one ring as messages (INBAND_NOTIFICATIONS): one is under way at a time, and those that come meanwhile are one more. */
export class InbandKick {
  readonly #requester: Requester;
  readonly #payload: Uint8Array;
  /** The ring does not run: a kick would start it. */
  held = true;
  #underWay = false;
  #again = false;

  constructor(requester: Requester, index: number) {
    this.#requester = requester;
    this.#payload = encodeVringState({ index, num: 0 });
  }

  /** Never blocks, never throws: who loses the back-end hears of it elsewhere. */
  kick(): void {
    if (this.held) return;
    if (this.#underWay) {
      this.#again = true;
      return;
    }
    this.#underWay = true;
    this.#again = false;
    const answered = (): void => {
      this.#underWay = false;
      if (this.#again) this.kick();
    };
    this.#requester.ask(REQUEST.VRING_KICK, FLAGS.NEED_REPLY, this.#payload).then(answered, () => {});
  }
}
