import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import type { GuestAddress } from '../memory/address.js';
import { GuestAllocator } from '../memory/guest-allocator.js';
import { GuestMemory } from '../memory/guest-memory.js';
import { MappedView } from '../memory/mapped-view.js';
import type { DeviceQueueOptions } from './device-queue-options.js';
import { PackedDeviceQueue } from './packed/device.js';
import { PackedDriverQueue } from './packed/driver.js';
import { SplitDeviceQueue } from './split/device.js';
import { SplitDriverQueue } from './split/driver.js';

/*
 * The two ends on two processors, for what one thread can't show: that the bytes of a request and of an answer are there
 * when their index is, and that no wakeup is lost. This file is its own worker: the device runs there.
 */

const START = 0x1000 as GuestAddress;
const CHAINS = 100_000;
const BASE = { split: 0xff00, packed: 0x000b_000b };
/** No power of two where it need not be. */
const SIZE = { split: 16, packed: 13 };
type Layout = 'split' | 'packed';
/** A wakeup that has not come after so many ms never will. */
const LOST = 10_000;

interface Shared {
  readonly buffer: SharedArrayBuffer;
  /** Counters of wakeups: for the device at 0, for the driver at 1. */
  readonly bells: SharedArrayBuffer;
  readonly layout: Layout;
  readonly place: Omit<DeviceQueueOptions, 'memory'>;
}

class Bell {
  readonly #counters: Int32Array;
  readonly #mine: number;
  #heard = 0;

  constructor(bells: SharedArrayBuffer, mine: number) {
    this.#counters = new Int32Array(bells);
    this.#mine = mine;
  }

  ring(): void {
    Atomics.add(this.#counters, 1 - this.#mine, 1);
    Atomics.notify(this.#counters, 1 - this.#mine);
  }

  wait(): void {
    const outcome = Atomics.wait(this.#counters, this.#mine, this.#heard, LOST);
    if (outcome === 'timed-out') throw new Error(`end ${this.#mine} was never woken`);
    this.#heard = Atomics.load(this.#counters, this.#mine);
  }
}

function memoryOver(buffer: SharedArrayBuffer): GuestMemory {
  const memory = new GuestMemory();
  memory.add({ start: START, view: new MappedView(buffer) });
  return memory;
}

/** Answers each number with the number after it. */
function serve({ buffer, bells, layout, place }: Shared): void {
  const options = { ...place, memory: memoryOver(buffer) };
  const queue = layout === 'packed' ? new PackedDeviceQueue(options) : new SplitDeviceQueue(options);
  const bell = new Bell(bells, 0);
  const bytes = new Uint8Array(4);
  const number = new DataView(bytes.buffer);
  for (let served = 0; served < CHAINS; ) {
    queue.disableKicks();
    do {
      for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
        chain.read(bytes);
        number.setUint32(0, number.getUint32(0, true) + 1, true);
        chain.write(bytes);
        queue.push(chain);
        served += 1;
      }
      if (queue.publish()) bell.ring();
    } while (queue.enableKicks());
    if (served < CHAINS) bell.wait();
  }
}

/** Sends numbers and checks the answers. `start` is called with what the device needs to know. */
function drive(
  buffer: SharedArrayBuffer,
  bells: SharedArrayBuffer,
  layout: Layout,
  eventIdx: boolean,
  start: (shared: Shared) => void,
): void {
  const memory = memoryOver(buffer);
  const allocator = new GuestAllocator(START, buffer.byteLength);
  const base = BASE[layout];
  const options = { memory, allocator, size: SIZE[layout], eventIdx, indirect: true, base };
  const Queue = layout === 'packed' ? PackedDriverQueue : SplitDriverQueue;
  const queue = new Queue<{ slot: number; value: number }>(options);
  const { size, descriptorArea, driverArea, deviceArea } = queue;
  start({
    buffer,
    bells,
    layout,
    place: { size, descriptorArea, driverArea, deviceArea, base, eventIdx, indirect: true },
  });

  const bell = new Bell(bells, 1);
  const slots = Array.from({ length: size }, () => ({
    request: [allocator.alloc(4)],
    answer: [allocator.alloc(4)],
  }));
  const free = [...slots.keys()];
  const bytes = new Uint8Array(4);
  const number = new DataView(bytes.buffer);
  let sent = 0;
  for (let received = 0; received < CHAINS; ) {
    queue.disableInterrupts();
    do {
      for (let used = queue.reap(); used !== undefined; used = queue.reap()) {
        const { slot, value } = used.token;
        memory.read(slots[slot]!.answer[0]!.address, bytes);
        assert.deepEqual([used.written, number.getUint32(0, true)], [4, value + 1]);
        free.push(slot);
        received += 1;
      }
      // Bursts of different lengths, so that each end falls asleep now and then.
      for (let burst = 1 + (sent % 13); burst > 0 && free.length > 0 && sent < CHAINS; burst--) {
        const slot = free.pop()!;
        const value = sent * 3;
        number.setUint32(0, value, true);
        const { request, answer } = slots[slot]!;
        memory.write(request[0]!.address, bytes);
        assert.ok(queue.add(request, answer, { slot, value }));
        sent += 1;
      }
      if (queue.publish()) bell.ring();
    } while (queue.enableInterrupts());
    if (received < CHAINS) bell.wait();
  }
}

if (!isMainThread) {
  serve(workerData as Shared);
} else {
  for (const layout of ['split', 'packed'] as const) {
    for (const eventIdx of [false, true]) {
      const sections = layout === 'split' ? '2.7.13.4.1, 2.7.14' : '2.8.21.3.1, 2.8.22';
      const name = eventIdx ? 'with EVENT_IDX' : 'without EVENT_IDX';
      test(`${sections}: ${CHAINS} chains between two threads, none lost, torn or unheard, ${name}`, async () => {
        let worker: Worker | undefined;
        const failures: unknown[] = [];
        const start = (shared: Shared) => {
          worker = new Worker(new URL(import.meta.url), { workerData: shared });
          worker.on('error', (error) => failures.push(error));
        };
        try {
          drive(new SharedArrayBuffer(1 << 16), new SharedArrayBuffer(8), layout, eventIdx, start);
          await once(worker!, 'exit');
          assert.deepEqual(failures, []);
        } finally {
          await worker?.terminate();
        }
      });
    }
  }
}
