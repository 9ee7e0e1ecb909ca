import type { Chain } from '../virtqueue/chain.js';
import { describeBytes } from './describe-bytes.js';
import type { DeviceQueue, QueueSpec } from './device.js';

/** One chain, from the device's taking it to its handing it back. */
export interface ChainTrace {
  /** The queue's name. */
  readonly queue: string;
  readonly head: number;
  /** Device-readable bytes that there were. */
  readonly readable: number;
  /** Room that there was for the device, in bytes. */
  readonly writable: number;
  /** Bytes that the device wrote. */
  readonly written: number;
  /** What the device read, by the declared struct or as hex. */
  readonly request: string;
  /** What it wrote, likewise. */
  readonly response: string;
  /** From pop to push, ns. */
  readonly time: number;
}

/** Bytes kept of each direction of a chain. */
const KEPT = 4096;

/** A queue that reports each chain when it is handed back: what the device itself saw, read once. */
export class TracedQueue implements DeviceQueue {
  readonly index: number;
  readonly name: string;
  readonly #queue: DeviceQueue;
  readonly #shape: QueueSpec['shape'];
  readonly #now: () => number;
  readonly #wanted: () => boolean;
  readonly #report: (trace: ChainTrace) => void;

  /**
   * @param now - ns.
   * @param wanted - asked for each chain that is taken: whether it is to be reported.
   */
  constructor(
    queue: DeviceQueue,
    spec: QueueSpec,
    now: () => number,
    report: (trace: ChainTrace) => void,
    wanted: () => boolean = () => true,
  ) {
    this.index = queue.index;
    this.name = queue.name;
    this.#queue = queue;
    this.#shape = spec.shape;
    this.#now = now;
    this.#report = report;
    this.#wanted = wanted;
  }

  get ready(): boolean {
    return this.#queue.ready;
  }

  pop(): Chain | undefined {
    const chain = this.#queue.pop();
    return chain !== undefined && this.#wanted() ? new TracedChain(chain, this.#now()) : chain;
  }

  push(chain: Chain): void {
    if (!(chain instanceof TracedChain)) {
      this.#queue.push(chain);
      return;
    }
    // With a gap in it, it is no struct.
    const shape = chain.skipped === 0 ? this.#shape?.request : undefined;
    const read = describeBytes(chain.wasRead.bytes, chain.consumed - chain.skipped, shape);
    const skipped =
      chain.skipped === 0 ? '' : ` (${chain.skipped} ${chain.skipped === 1 ? 'byte' : 'bytes'} skipped)`;
    this.#report({
      queue: this.name,
      head: chain.head,
      readable: chain.readable,
      writable: chain.writable,
      written: chain.written,
      request: `${read}${skipped}`,
      response: describeBytes(chain.wasWritten.bytes, chain.written, this.#shape?.response),
      time: this.#now() - chain.taken,
    });
    this.#queue.push(chain.chain);
  }

  serialOf(chain: Chain): number | undefined {
    return this.#queue.serialOf(chain);
  }

  isOut(head: number, serial: number): boolean | undefined {
    return this.#queue.isOut(head, serial);
  }

  adopt(chain: Chain): void {
    this.#queue.adopt(chain instanceof TracedChain ? chain.chain : chain);
  }

  fail(error: Error): void {
    this.#queue.fail(error);
  }

  flush(): void {
    this.#queue.flush();
  }
}

/** A chain that remembers what went through it. */
class TracedChain implements Chain {
  readonly chain: Chain;
  readonly head: number;
  readonly readable: number;
  readonly writable: number;
  /** When it was popped, ns. */
  readonly taken: number;
  /** Bytes that the device did not look at. */
  skipped = 0;
  readonly wasRead: Kept = new Kept();
  readonly wasWritten: Kept = new Kept();

  constructor(chain: Chain, taken: number) {
    this.chain = chain;
    this.head = chain.head;
    this.readable = chain.readable;
    this.writable = chain.writable;
    this.taken = taken;
  }

  get consumed(): number {
    return this.chain.consumed;
  }

  get written(): number {
    return this.chain.written;
  }

  read(into: Uint8Array, start = 0, length: number = into.length - start): number {
    const count = this.chain.read(into, start, length);
    this.wasRead.add(into.subarray(start, start + count));
    return count;
  }

  readRest(): Uint8Array {
    const rest = this.chain.readRest();
    this.wasRead.add(rest);
    return rest;
  }

  skip(length: number): number {
    const count = this.chain.skip(length);
    this.skipped += count;
    return count;
  }

  write(from: Uint8Array, start = 0, length: number = from.length - start): number {
    const count = this.chain.write(from, start, length);
    this.wasWritten.add(from.subarray(start, start + count));
    return count;
  }
}

/** The first bytes of a stream. */
class Kept {
  #bytes = new Uint8Array();

  get bytes(): Uint8Array {
    return this.#bytes;
  }

  add(more: Uint8Array): void {
    const room = KEPT - this.#bytes.length;
    if (room <= 0) return;
    const bytes = new Uint8Array(this.#bytes.length + Math.min(room, more.length));
    bytes.set(this.#bytes);
    bytes.set(more.subarray(0, room), this.#bytes.length);
    this.#bytes = bytes;
  }
}
