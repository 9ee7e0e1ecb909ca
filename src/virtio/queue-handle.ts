import type { Chain } from '../virtqueue/chain.js';
import type { DeviceQueue } from './device.js';
import type { QueueRunner } from './queue-runner.js';

/**
 * One device's hold on one queue. A device that is not in place yet gets nothing out of it, and what it hands back waits; one whose
 * place another took hands back what it holds, and gets nothing more.
 */
export class QueueHandle implements DeviceQueue {
  readonly index: number;
  readonly name: string;
  readonly #queue: QueueRunner;
  #serving = true;
  /** Of a device whose place another took: which of the queue's takers it was. */
  #taker = 0;
  #waiting: Chain[] | undefined;
  #adopted: Chain[] = [];

  constructor(queue: QueueRunner, name: string) {
    this.index = queue.index;
    this.name = name;
    this.#queue = queue;
  }

  get ready(): boolean {
    return this.#serving && this.#queue.running;
  }

  pop(): Chain | undefined {
    return this.#serving ? this.#queue.pop() : undefined;
  }

  push(chain: Chain): void {
    if (this.#waiting !== undefined) this.#waiting.push(chain);
    // One that the device in its place adopted is that device's.
    else if (this.#serving || this.#queue.isTakenBy(this.#taker, chain)) this.#queue.push(chain);
  }

  adopt(chain: Chain): void {
    if (this.#waiting === undefined) this.#queue.adopt(chain);
    else this.#adopted.push(chain);
  }

  serialOf(chain: Chain): number | undefined {
    return this.#queue.serialOf(chain);
  }

  isOut(head: number, serial: number): boolean | undefined {
    return this.#queue.isOut(head, serial);
  }

  fail(error: Error): void {
    this.#queue.fail(error);
  }

  flush(): void {
    this.#queue.flush();
  }

  /** The device is being tried. */
  try(): void {
    this.#serving = false;
    this.#waiting = [];
  }

  /** It is in place. */
  serve(): void {
    this.#serving = true;
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    for (const chain of this.#adopted) this.#queue.adopt(chain);
    this.#adopted = [];
    for (const chain of waiting) this.#queue.push(chain);
  }

  /** Another is in its place. */
  retire(): void {
    this.#serving = false;
    this.#taker = this.#queue.taker;
  }
}
