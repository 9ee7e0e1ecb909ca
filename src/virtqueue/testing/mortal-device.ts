import assert from 'node:assert/strict';
import { MappedView } from '../../memory/mapped-view.js';
import type { Chain } from '../chain.js';
import type { InflightPlace } from '../inflight.js';
import { PackedDeviceQueue } from '../packed/device.js';
import { packedRegionSize } from '../packed/inflight-layout.js';
import { SplitDeviceQueue } from '../split/device.js';
import { splitRegionSize } from '../split/inflight-layout.js';
import type { Virtqueue } from '../virtqueue.js';
import { PoliteDriver, type PoliteDriverOptions, type SentRequest } from './polite-driver.js';
import { WatchedView } from './watched-view.js';

/** What a device is ended with, in the middle of what it does. */
export class Killed extends Error {}

export interface MortalOptions extends Omit<PoliteDriverOptions, 'hooks'> {
  /** Entries of the region, if they are more than the queue's. */
  readonly entries?: number;
  /** Nobody else reads the region. */
  readonly ours?: boolean;
  /** Whether memory is there by words. */
  readonly byWords?: boolean;
}

/** A driver of one queue, devices that come one after the other, and what is kept of it that each was killed. */
export class MortalDevice {
  readonly driver: PoliteDriver;
  readonly region: ArrayBuffer;
  readonly place: InflightPlace;
  /** Stores of devices, over all their lives. */
  stores = 0;
  /** The store after which the device is killed. */
  killAt: number = Number.POSITIVE_INFINITY;
  /** Of the device that lives. */
  readonly held: { readonly id: number; readonly chain: Chain }[] = [];
  readonly #packed: boolean;
  #alive = false;
  #queue: Virtqueue | undefined;
  #sent = 0;
  readonly #ids: Map<SentRequest, number> = new Map();
  /** Of each that a device took. */
  readonly #serials = new Map<number, { readonly head: number; readonly serial: number }>();
  /** Those that were made available and not answered, oldest first. */
  #published: number[] = [];
  #unpublished: number[] = [];

  constructor({ entries, ours, byWords, ...options }: MortalOptions) {
    const hooks = {
      ...(byWords !== undefined && { byWords }),
      after: (kind: string) => {
        if (!this.#alive || kind === 'read' || kind === 'load') return;
        this.stores += 1;
        if (this.stores === this.killAt) throw new Killed();
      },
    };
    this.#packed = options.packed === true;
    this.driver = new PoliteDriver({ ...options, hooks });
    const { size } = this.driver.device;
    const most = entries ?? size;
    this.region = new ArrayBuffer(this.#packed ? packedRegionSize(most) : splitRegionSize(most));
    this.place = { view: new WatchedView(new MappedView(this.region), hooks), entries: most, ours };
  }

  /** The device that lives, made when there is none. @throws Killed */
  get queue(): Virtqueue {
    if (this.#queue !== undefined) return this.#queue;
    return this.#asDevice(() => {
      const options = { ...this.driver.device, inflight: this.place };
      this.#queue = this.#packed ? new PackedDeviceQueue(options) : new SplitDeviceQueue(options);
      return this.#queue;
    });
  }

  /** The device is gone. */
  kill(): void {
    this.#alive = false;
    this.#queue = undefined;
    this.held.length = 0;
  }

  /** @param cuts - how many descriptors to read, and to write. @returns whether there was room. */
  send(readable = 1, writable = 1): boolean {
    const id = this.#sent;
    const pieces = Array.from({ length: readable }, (_, i) => Uint8Array.of(id >>> 8, id, i));
    const sent = this.driver.sent(
      pieces,
      Array.from({ length: writable }, () => 2),
    );
    if (sent === undefined) return false;
    this.#sent += 1;
    this.#ids.set(sent, id);
    this.#unpublished.push(id);
    return true;
  }

  publish(): void {
    this.#published.push(...this.#unpublished.splice(0));
    this.driver.publish();
  }

  /** The device takes one. @returns which, `undefined` when there is none. @throws Killed */
  pop(): number | undefined {
    const { queue } = this;
    return this.#asDevice(() => {
      const chain = queue.pop();
      if (chain === undefined) return undefined;
      const bytes = chain.readRest();
      const id = (bytes[0]! << 8) | bytes[1]!;
      this.held.push({ id, chain });
      this.#checkSerial(id, chain.head, queue.serialOf!(chain.head)!);
      return id;
    });
  }

  /** It answers one of those that it holds. @throws Killed */
  push(which: number): void {
    const [held] = this.held.splice(which % Math.max(1, this.held.length), 1);
    if (held === undefined) return;
    const { queue } = this;
    this.#asDevice(() => {
      held.chain.write(Uint8Array.of(held.id >>> 8, held.id));
      queue.push(held.chain);
    });
  }

  /** @throws Killed */
  show(): void {
    const { queue } = this;
    this.#asDevice(() => void queue.publish());
  }

  /** The driver takes what it is shown: each once, and with its own answer. */
  receive(): void {
    for (let answer = this.driver.receive(); answer !== undefined; answer = this.driver.receive()) {
      const id = this.#ids.get(answer.request);
      assert.ok(id !== undefined, 'an answer to nothing');
      this.#ids.delete(answer.request);
      if (answer.request.writable.length > 0)
        assert.deepEqual([...answer.bytes.subarray(0, 2)], [id >>> 8, id & 0xff]);
      this.#published = this.#published.filter((other) => other !== id);
    }
  }

  /** Those that were made available and not answered, oldest first. */
  get outstanding(): readonly number[] {
    return this.#published;
  }

  /**
   * A device that comes after the last one was killed finds all that was not handed back, in the order in which it was taken, and then what
   * nobody took: nothing twice, and nothing lost. @throws Killed
   */
  checkAll(): void {
    this.receive();
    this.#checkOut();
    const found: number[] = [];
    for (let id = this.pop(); id !== undefined; id = this.pop()) found.push(id);
    assert.deepEqual(found, this.#published);
  }

  /** Answers all that is outstanding. */
  finish(): void {
    this.publish();
    while (this.pop() !== undefined);
    while (this.held.length > 0) this.push(this.held.length - 1);
    this.show();
    this.receive();
    this.#checkOut();
    assert.deepEqual(this.#published, []);
    assert.equal(this.driver.queue.inFlight, 0);
  }

  /** A chain that is taken anew has the number that it had, and no other has it. */
  #checkSerial(id: number, head: number, serial: number): void {
    const before = this.#serials.get(id);
    if (before === undefined) {
      assert.ok(serial > 0 && ![...this.#serials.values()].some((other) => other.serial === serial));
      this.#serials.set(id, { head, serial });
    } else assert.deepEqual({ head, serial }, before);
  }

  /** Whoever lives knows of each chain that was taken whether the driver has it back. */
  #checkOut(): void {
    const { queue } = this;
    for (const [id, { head, serial }] of this.#serials)
      assert.equal(queue.isOut!(head, serial), this.#published.includes(id), `${id}`);
  }

  #asDevice<T>(act: () => T): T {
    this.#alive = true;
    try {
      return act();
    } catch (error) {
      if (error instanceof Killed) this.kill();
      throw error;
    } finally {
      this.#alive = false;
    }
  }
}
