import { cut } from './field-view.js';
import type { TimelineItem } from './protocol.js';
import type { Entry } from './timeline.js';

/** Characters that are left of a text when there is no room. */
const SHORT = 500;

/** Something that happened at once, and does not change. */
export class PlainEntry implements Entry {
  #item: TimelineItem;

  constructor(item: TimelineItem) {
    this.#item = item;
  }

  get id(): number {
    return this.#item.id;
  }

  get time(): number {
    return this.#item.time;
  }

  /** Only texts can be long. */
  get size(): number {
    return 'text' in this.#item ? this.#item.text.length : 0;
  }

  item(): TimelineItem {
    return this.#item;
  }

  shed(): void {
    const item = this.#item;
    if ('text' in item) this.#item = { ...item, text: cut(item.text, SHORT) };
  }
}
