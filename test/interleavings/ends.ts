import type { GuestAddress } from '../../src/memory/address.js';
import { GuestAllocator, type GuestBuffer } from '../../src/memory/guest-allocator.js';
import { GuestMemory } from '../../src/memory/guest-memory.js';
import { MappedView } from '../../src/memory/mapped-view.js';
import type { MemoryView } from '../../src/memory/memory-view.js';
import type { Chain } from '../../src/virtqueue/chain.js';
import type { DeviceQueueOptions } from '../../src/virtqueue/device-queue-options.js';
import type { DriverQueue } from '../../src/virtqueue/driver-queue.js';
import { PackedDeviceQueue } from '../../src/virtqueue/packed/device.js';
import { PackedDriverQueue } from '../../src/virtqueue/packed/driver.js';
import { SplitDeviceQueue } from '../../src/virtqueue/split/device.js';
import { SplitDriverQueue } from '../../src/virtqueue/split/driver.js';
import type { Run } from './run.js';

/** What a request has: bytes to read, room to write, or first the one and then the other. */
export type Shape = 'in' | 'out' | 'pair';

/** What two ends do with each other. */
export interface Scene {
  readonly layout: 'split' | 'packed';
  readonly size: number;
  readonly eventIdx: boolean;
  /** Each end says that it need not be told while it works. */
  readonly suppress: boolean;
  readonly requests: readonly Shape[];
  readonly indirect?: boolean;
  readonly inOrder?: boolean;
  /** The device hands back what it took at once the other way round. */
  readonly backwards?: boolean;
  /** The driver publishes each request by itself. */
  readonly each?: boolean;
  /** Where the ring starts: a fresh one's place unless told. */
  readonly base?: number;
  /** The ends have the memory as words, where they take words. */
  readonly byWords?: boolean;
}

export const START: GuestAddress = 0x1000 as GuestAddress;
export const BYTES = 2048;

interface Slot {
  readonly request: GuestBuffer;
  readonly answer: GuestBuffer;
}

export interface DriverSide {
  readonly memory: GuestMemory;
  readonly allocator: GuestAllocator;
  readonly queue: DriverQueue<{ readonly slot: number; readonly index: number }>;
  readonly slots: readonly Slot[];
}

/** Makes the driver's end, and buffers: always in the same places. */
export function driverOf(
  scene: Scene,
  view: MemoryView = new MappedView(new ArrayBuffer(BYTES)),
): DriverSide {
  const memory = new GuestMemory();
  memory.add({ start: START, view });
  const allocator = new GuestAllocator(START, BYTES);
  const { size, eventIdx, indirect = false, inOrder = false, base } = scene;
  const made = {
    memory,
    allocator,
    size,
    eventIdx,
    indirect,
    inOrder,
    ...(base === undefined ? {} : { base }),
  };
  const queue = scene.layout === 'packed' ? new PackedDriverQueue(made) : new SplitDriverQueue(made);
  const slots = Array.from({ length: size }, () => ({
    request: allocator.alloc(4),
    answer: allocator.alloc(4),
  }));
  return { memory, allocator, queue: queue as DriverSide['queue'], slots };
}

const requestOf = (index: number): number => 0x100 + index;
/** What the device writes for a request. */
export const answerTo = (index: number): number => 0x200 + index;

/** @throws Error when something is not as it must be. */
export function demand(what: string, found: unknown, wanted: unknown): void {
  if (found !== wanted) throw new Error(`${what} is ${found}, not ${wanted}`);
}

/** A driver that sends requests, checks their answers, and sleeps when there is nothing to do. */
export function drive(scene: Scene, run: Run): void {
  const { requests, suppress, indirect, each } = scene;
  const { memory, queue, slots } = driverOf(scene, run.view);
  const free = [...slots.keys()].reverse();
  const back = new Set<number>();
  const bytes = new Uint8Array(4);
  const number = new DataView(bytes.buffer);
  let sent = 0;
  run.begin();

  function take(slot: number, index: number, written: number): void {
    const shape = requests[index]!;
    demand(`what was written for request ${index}`, written, shape === 'in' ? 0 : 4);
    if (shape !== 'in') {
      memory.read(slots[slot]!.answer.address, bytes);
      demand(`the answer to request ${index}`, number.getUint32(0, true), answerTo(index));
    }
    demand(`that request ${index} was answered before`, back.has(index), false);
    back.add(index);
    free.push(slot);
  }

  function send(): boolean {
    const shape = requests[sent];
    const slot = free.at(-1);
    if (shape === undefined || slot === undefined) return false;
    if (queue.free < (shape === 'pair' && indirect !== true ? 2 : 1)) return false;
    const { request, answer } = slots[slot]!;
    if (shape !== 'out') {
      number.setUint32(0, requestOf(sent), true);
      memory.write(request.address, bytes);
    }
    const token = { slot, index: sent };
    demand(
      'room for it',
      queue.add(shape === 'out' ? [] : [request], shape === 'in' ? [] : [answer], token),
      true,
    );
    free.pop();
    sent += 1;
    return true;
  }

  while (back.size < requests.length) {
    if (suppress) queue.disableInterrupts();
    do {
      for (let used = queue.reap(); used !== undefined; used = queue.reap()) {
        take(used.token.slot, used.token.index, used.written);
      }
      while (send()) if (each === true && queue.publish()) run.ring();
      if (queue.publish()) run.ring();
    } while (run.again(queue.enableInterrupts()));
    if (back.size < requests.length) run.wait();
  }
}

/** What the device's end is made of. */
export function deviceOptions(scene: Scene, memory: GuestMemory): DeviceQueueOptions {
  const { descriptorArea, driverArea, deviceArea, base } = driverOf(scene).queue;
  const { size, eventIdx, indirect = false, inOrder = false } = scene;
  return { memory, size, descriptorArea, driverArea, deviceArea, base, eventIdx, indirect, inOrder };
}

/** Reads the request and writes the answer. @param index - the how-manieth request it is. */
export function answer(scene: Scene, chain: Chain, index: number): void {
  const bytes = new Uint8Array(4);
  const number = new DataView(bytes.buffer);
  const shape = scene.requests[index];
  if (shape === undefined) throw new Error(`${index + 1} requests came of ${scene.requests.length}`);
  demand(`bytes to read of request ${index}`, chain.readable, shape === 'out' ? 0 : 4);
  demand(`bytes to write of request ${index}`, chain.writable, shape === 'in' ? 0 : 4);
  if (shape !== 'out') {
    chain.read(bytes);
    demand(`request ${index}`, number.getUint32(0, true), requestOf(index));
  }
  number.setUint32(0, answerTo(index), true);
  if (shape !== 'in') chain.write(bytes);
}

/** A device that answers requests, and sleeps when there are none. */
export function serve(scene: Scene, run: Run): void {
  const memory = new GuestMemory();
  memory.add({ start: START, view: run.view });
  const options = deviceOptions(scene, memory);
  const queue = scene.layout === 'packed' ? new PackedDeviceQueue(options) : new SplitDeviceQueue(options);
  let taken = 0;
  run.begin();
  while (taken < scene.requests.length) {
    if (scene.suppress) queue.disableKicks();
    do {
      const held: Chain[] = [];
      for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
        answer(scene, chain, taken);
        taken += 1;
        if (scene.backwards === true) held.unshift(chain);
        else queue.push(chain);
      }
      for (const chain of held) queue.push(chain);
      if (queue.publish()) run.ring();
    } while (run.again(queue.enableKicks()));
    if (taken < scene.requests.length) run.wait();
  }
}
