import { ACCESS_READ, ACCESS_WRITE, TranslatedMemory } from '../../../memory/translated-memory.js';
import { VirtqueueError } from '../../../virtqueue/virtqueue-error.js';
import { encodeIotlb, type IotlbMessage } from '../iotlb-message.js';
import { IOTLB_TYPE } from '../messages.js';
import type { MemoryTable } from './memory-table.js';
import { Refusal } from './refusal.js';

/** What the translations stand on. */
export interface IotlbPorts {
  /** Sends the front-end a miss; see `BackendChannel.ask`. */
  ask(miss: Uint8Array, answered: (ok: boolean) => void): boolean;
  /** What was asked for is there, or will never be: who waits may look again. */
  settled(): void;
}

/** Misses that are asked for at a time: more are asked for when these were answered. */
const ASKED_MOST = 1024;
const PAGE_SIZE = 4096;

/**
 * What the front-end's IOMMU says (ACCESS_PLATFORM): guest addresses are translated to addresses of the front-end's own memory, a range at a
 * time, when they are used first. Nothing waits meanwhile but the queue that needs them.
 */
export class Iotlb {
  readonly memory: TranslatedMemory;
  readonly #ports: IotlbPorts;
  /** Pages and accesses that the front-end was asked for, by `keyOf`. */
  readonly #asked = new Set<number>();
  /** Those of which it said that it told, and nothing was there: how often something had been taken back by then. */
  readonly #promised = new Map<number, number>();
  #takenBack = 0;
  /** What it said no to just now, while the queues look whether they want that still: what nobody wants any more may be there another time. */
  #refused: number | undefined;

  constructor(table: MemoryTable, ports: IotlbPorts) {
    this.#ports = ports;
    this.memory = new TranslatedMemory({
      resolve: (target, length) => table.viewOf(target, length),
      wanted: (address, access) => this.#wanted(address, access),
    });
  }

  /**
   * IOTLB_MSG.
   *
   * @returns whether something that was known is known no more: it must not be touched from now on.
   * @throws Refusal
   */
  apply(message: IotlbMessage): boolean {
    const { type, iova, size, userAddress, access } = message;
    switch (type) {
      case IOTLB_TYPE.UPDATE:
        return this.#update(iova, size, userAddress, access);
      case IOTLB_TYPE.INVALIDATE:
        if (size === 0 && iova !== 0) throw new Refusal('no bytes are invalidated');
        this.#takenBack += 1;
        // A size of 2^64 is written as 0; what is above 2^53 is never known.
        if (Number.isNaN(iova)) return false;
        return this.memory.unmap(iova, size > 0 ? size : Number.POSITIVE_INFINITY);
      default:
        throw new Refusal(`type ${type} is nothing that a front-end says`);
    }
  }

  /** The regions changed, or who hears of writes to them. @returns as `apply`. */
  followRegions(): boolean {
    return this.memory.resolveAgain();
  }

  #update(iova: number, size: number, userAddress: number, access: number): boolean {
    const what = `${size} bytes at 0x${iova.toString(16)}`;
    if (access < ACCESS_READ || access > (ACCESS_READ | ACCESS_WRITE)) {
      throw new Refusal(`${what}: permissions ${access} are none`);
    }
    if (!(size > 0 && iova + size <= Number.MAX_SAFE_INTEGER)) throw new Refusal(`${what} can't be`);
    const taken = this.memory.map(iova, size, userAddress, access);
    if (taken !== undefined) return taken;
    throw new Refusal(
      `${what}: no memory region has 0x${userAddress.toString(16)}, or more are in use than are kept`,
    );
  }

  #wanted(address: number, access: number): void {
    const key = keyOf(address, access);
    if (this.#refused === key) throw unmapped(address, access);
    if (this.#asked.has(key) || this.#asked.size >= ASKED_MOST) return;
    if (!this.#ask(address, access, key)) throw unmapped(address, access);
  }

  #ask(address: number, access: number, key: number): boolean {
    this.#asked.add(key);
    const miss = { type: IOTLB_TYPE.MISS, iova: address, size: 0, userAddress: 0, access };
    const sent = this.#ports.ask(encodeIotlb(miss), (ok) => {
      this.#asked.delete(key);
      const known = this.memory.knows(address, 1, access);
      // The update came on another socket, maybe after this, or what it said was taken back since. Whoever wants it still asks once more: the
      // update is there for certain when a second question is answered, and only its being taken back again excuses that it is not.
      const again = !known && ok && this.#promised.get(key) !== this.#takenBack;
      if (again && this.#promised.size < ASKED_MOST) this.#promised.set(key, this.#takenBack);
      else this.#promised.delete(key);
      this.#refused = known || again ? undefined : key;
      this.#ports.settled();
      this.#refused = undefined;
    });
    if (!sent) this.#asked.delete(key);
    return sent;
  }
}

function keyOf(address: number, access: number): number {
  return Math.floor(address / PAGE_SIZE) * 4 + access;
}

function unmapped(address: number, access: number): VirtqueueError {
  const what = (access & ACCESS_WRITE) !== 0 ? 'written' : 'read';
  const text = `0x${address.toString(16)} is not translated to memory that may be ${what}`;
  return new VirtqueueError('BUFFER_UNMAPPED', '6', text);
}
