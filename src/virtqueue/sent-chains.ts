import { VirtqueueError } from './virtqueue-error.js';

/** What a driver knows of its chains that are with the device, by head: in arrays of its own, of which the device can change nothing. */
export class SentChains<Token> {
  readonly #size: number;
  readonly #section: string;
  readonly #inOrder: boolean;
  /** By head: device-writable bytes of the chain. */
  readonly #writable: Uint32Array;
  /** By head: the how-manieth chain ever it is, from 1; 0 when it is not in flight. */
  readonly #serial: Float64Array;
  readonly #tokens: (Token | undefined)[];
  /** Heads in the order in which they were added, round and round; with IN_ORDER only. */
  readonly #order: Uint16Array;
  #newest = 0;
  #oldest = 0;

  /** Chains ever added, published and taken back. */
  #added = 0;
  #published = 0;
  #taken = 0;

  /** The chain that the device named last, while it or older ones were not taken back; -1 otherwise. */
  #named = -1;
  #namedWritten = 0;

  /** @param section - of the specification: what a device breaks that uses what it was not given. */
  constructor(size: number, inOrder: boolean, section: string) {
    this.#size = size;
    this.#inOrder = inOrder;
    this.#section = section;
    this.#writable = new Uint32Array(size);
    this.#serial = new Float64Array(size);
    this.#tokens = new Array<Token | undefined>(size).fill(undefined);
    this.#order = new Uint16Array(inOrder ? size : 0);
  }

  /** Chains that were added and not taken back. */
  get inFlight(): number {
    return this.#added - this.#taken;
  }

  /** Those of them that the device knows. */
  get withDevice(): number {
    return this.#published - this.#taken;
  }

  add(head: number, writable: number, token: Token): void {
    this.#writable[head] = writable;
    this.#tokens[head] = token;
    this.#added += 1;
    this.#serial[head] = this.#added;
    if (!this.#inOrder) return;
    this.#order[this.#newest] = head;
    this.#newest = this.#newest + 1 === this.#size ? 0 : this.#newest + 1;
  }

  /** The device sees all that was added. */
  publish(): void {
    this.#published = this.#added;
  }

  /**
   * The device says that it used a chain, and with IN_ORDER all that are older (VIRTIO 1.3 §2.7.9, §2.8.8).
   *
   * @throws VirtqueueError `USED_ID` or `USED_LEN` when that can't be.
   */
  name(head: number, written: number): void {
    const serial = head < this.#size ? this.#serial[head]! : 0;
    if (serial === 0 || serial > this.#published) {
      throw new VirtqueueError('USED_ID', this.#section, `used id ${head} is not with the device`);
    }
    if (written > this.#writable[head]!) {
      const text = `used length ${written} of chain ${head} is more than its ${this.#writable[head]} writable bytes`;
      throw new VirtqueueError('USED_LEN', this.#section, text);
    }
    this.#named = head;
    this.#namedWritten = written;
  }

  /** The next chain to be taken back, of those that the device named; -1 when it has to be looked for. */
  get next(): number {
    return this.#inOrder && this.#named >= 0 ? this.#order[this.#oldest]! : this.#named;
  }

  /** Chains up to the one that was named, itself included. */
  get named(): number {
    if (this.#named < 0) return 0;
    return this.#inOrder ? this.#serial[this.#named]! - this.#taken : 1;
  }

  /** Bytes that were written to the next: of those that were skipped, all that could be. */
  get written(): number {
    const { next } = this;
    return next === this.#named ? this.#namedWritten : this.#writable[next]!;
  }

  /** Takes the next back. */
  take(): Token {
    const { next } = this;
    if (next === this.#named) this.#named = -1;
    if (this.#inOrder) this.#oldest = this.#oldest + 1 === this.#size ? 0 : this.#oldest + 1;
    const token = this.#tokens[next] as Token;
    this.#tokens[next] = undefined;
    this.#serial[next] = 0;
    this.#taken += 1;
    return token;
  }

  /** Takes all back, in the order in which they were added. */
  takeAll(): Token[] {
    const heads = [...this.#serial.keys()].filter((head) => this.#serial[head] !== 0);
    heads.sort((a, b) => this.#serial[a]! - this.#serial[b]!);
    const tokens = heads.map((head) => this.#tokens[head] as Token);
    this.#tokens.fill(undefined);
    this.#taken = this.#added;
    return tokens;
  }
}
