import type { Entry } from './timeline.js';

/** Where timelines put what is new, so that pages hear of it. */
export interface Sink {
  /** Numbers for items. */
  nextId(): number;
  /** This is new, or changed. */
  changed(entry: Entry): void;
}
