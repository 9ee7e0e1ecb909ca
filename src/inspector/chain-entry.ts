import type { SeenDescriptor, TakenEvent, UsedEvent } from '../observe/event.js';
import { hex } from '../record/event-json.js';
import type { Shape } from '../record/shape.js';
import { fieldsText, fieldViews } from './field-view.js';
import type { BytesView, ChainDetail, ChainItem } from './protocol.js';
import type { QueueShape } from './queue-shape.js';
import { readFields } from './read-fields.js';
import type { Entry } from './timeline.js';

/** Bytes that are kept of a request, and of its answer. */
export const BYTES = 4096;
/** Characters of what it is. */
const TEXT = 120;

const NOTHING: Uint8Array = new Uint8Array();

/** One request on a timeline, from when it was taken on. */
export class ChainEntry implements Entry {
  readonly id: number;
  readonly connection: number;
  readonly queue: number;
  readonly chain: number;
  readonly head: number;
  readonly taken: number;
  readonly available: number | undefined;
  readonly #readable: number;
  readonly #writable: number;
  readonly #shape: QueueShape;
  #descriptors: readonly SeenDescriptor[];
  #request: Uint8Array;
  #response: Uint8Array = NOTHING;
  #written: number | undefined;
  used: number | undefined;
  interrupt: number | undefined;
  suppressed = false;
  #text: string | undefined;
  /** Its bytes are gone. */
  #shed = false;

  constructor(id: number, event: TakenEvent, available: number | undefined, shape: QueueShape) {
    this.id = id;
    this.connection = event.connection;
    this.queue = event.queue;
    this.chain = event.chain;
    this.head = event.head;
    this.taken = event.time;
    this.available = available;
    this.#readable = event.readable;
    this.#writable = event.writable;
    this.#descriptors = event.descriptors;
    this.#request = event.bytes.length > BYTES ? event.bytes.slice(0, BYTES) : event.bytes;
    this.#shape = shape;
  }

  get time(): number {
    return this.taken;
  }

  get size(): number {
    return this.#request.length + this.#response.length + 32 * this.#descriptors.length;
  }

  /** @returns bytes more that it takes. */
  finish({ time, bytes, written }: UsedEvent): number {
    this.used = time;
    this.#written = written;
    if (this.#shed) return 0;
    // The chain's own buffer may be larger.
    this.#response = bytes.slice(0, BYTES);
    return this.#response.length;
  }

  shed(): void {
    this.#text ??= this.text;
    this.#shed = true;
    this.#request = NOTHING;
    this.#response = NOTHING;
    this.#descriptors = [];
  }

  /** What it is, by what the driver asks; or, where it asks nothing, by the answer. */
  get text(): string {
    if (this.#text !== undefined) return this.#text;
    const asks = this.#readable > 0;
    if (!asks && this.used === undefined) return `room for ${this.#writable} B`;
    this.#text = asks
      ? bytesText(this.#request, this.#readable, this.#shape.request)
      : bytesText(this.#response, this.#written ?? 0, this.#shape.response);
    return this.#text;
  }

  item(): ChainItem {
    const { id, connection, queue, chain, head, taken, available, used, interrupt } = this;
    return {
      type: 'chain',
      id,
      time: taken,
      connection,
      queue,
      taken,
      ...(available !== undefined && { available }),
      ...(used !== undefined && { used }),
      ...(interrupt !== undefined && { interrupt }),
      ...(this.suppressed && { suppressed: true }),
      chain,
      head,
      readable: this.#readable,
      writable: this.#writable,
      ...(this.#written !== undefined && { written: this.#written }),
      text: this.text,
    };
  }

  detail(queueName: string): ChainDetail {
    return {
      id: this.id,
      item: this.item(),
      queueName,
      descriptors: this.#descriptors,
      request: bytesView(this.#request, this.#readable, this.#shape.request),
      ...(this.used !== undefined && {
        response: bytesView(this.#response, this.#written ?? 0, this.#shape.response),
      }),
    };
  }
}

/** Bytes with what they mean. */
export function bytesView(bytes: Uint8Array, length: number, shape: Shape | undefined): BytesView {
  const fields = shape === undefined || length === 0 ? [] : fieldViews(readFields(shape, bytes, length));
  return { bytes: hex(bytes), length, fields };
}

/** What bytes say, in one short line. */
export function bytesText(bytes: Uint8Array, length: number, shape: Shape | undefined): string {
  if (length === 0) return 'nothing';
  const fields = shape === undefined || bytes.length === 0 ? [] : readFields(shape, bytes, length);
  if (fields.length > 0) return fieldsText(fields, TEXT);
  const shown = hex(bytes.subarray(0, 16));
  return `${length} B${shown && `: ${shown}`}${length > 16 ? '…' : ''}`;
}
