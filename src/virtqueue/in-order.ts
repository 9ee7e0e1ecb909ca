/**
 * Which chains a device with VIRTIO_F_IN_ORDER may show its driver as used, and which have to wait for older ones (VIRTIO 1.3 §2.7.9,
 * §2.8.8). The device finishes them in any order.
 */
export class InOrder {
  /** Heads of those that the driver did not get back, oldest first, from `#first` on and round. */
  readonly #heads: Uint16Array;
  #first = 0;
  #count = 0;
  /** By head: finished, and with how many bytes. */
  readonly #finished: Uint8Array;
  readonly #written: Uint32Array;

  /** @param size - the queue's: there are no more heads, and no more chains. */
  constructor(size: number) {
    this.#heads = new Uint16Array(size);
    this.#finished = new Uint8Array(size);
    this.#written = new Uint32Array(size);
  }

  /** The device took a chain. */
  taken(head: number): void {
    const { length } = this.#heads;
    const at = this.#first + this.#count;
    this.#heads[at < length ? at : at - length] = head;
    this.#count += 1;
    this.#finished[head] = UNFINISHED;
  }

  /** The device finished one. @param whole - it has written all that it may: the driver can know without being told. */
  finished(head: number, written: number, whole: boolean): void {
    this.#finished[head] = whole ? WHOLE : SHORT;
    this.#written[head] = written;
  }

  /** Whether it waits for older ones. */
  isWaiting(head: number): boolean {
    return this.#finished[head]! >= SHORT;
  }

  /** The oldest, if it is finished; -1 otherwise. */
  get next(): number {
    if (this.#count === 0) return -1;
    const head = this.#heads[this.#first]!;
    return this.#finished[head] === UNFINISHED ? -1 : head;
  }

  writtenOf(head: number): number {
    return this.#written[head]!;
  }

  isWhole(head: number): boolean {
    return this.#finished[head] === WHOLE;
  }

  /** The oldest is shown to the driver. */
  release(): void {
    this.#finished[this.#heads[this.#first]!] = 0;
    this.#first = this.#first + 1 === this.#heads.length ? 0 : this.#first + 1;
    this.#count -= 1;
  }
}

const UNFINISHED = 1;
const SHORT = 2;
const WHOLE = 3;
