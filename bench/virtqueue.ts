/*
 * What the split virtqueue costs: driver and device in one thread over plain memory, chains of three descriptors.
 * Run with `node --expose-gc dist/bench/virtqueue.js`; without --expose-gc the bytes allocated are not counted.
 */
import type { GuestBuffer } from '../src/memory/guest-allocator.js';
import type { Chain } from '../src/virtqueue/chain.js';
import { SplitDeviceQueue } from '../src/virtqueue/split/device.js';
import { PoliteDriver } from '../src/virtqueue/testing/polite-driver.js';
import { RingWriter } from '../src/virtqueue/testing/ring-writer.js';

const SIZE = 256;
const BATCH = 64;
const ROUNDS = 20_000;

type Row = { million_chains_per_s: number; bytes_per_chain: number | undefined };

/**
 * Runs `round` (which handles `BATCH` chains) often, after a warm-up; the best of five counts. Time is the processor's for
 * this process, so that a busy machine does not matter much.
 */
function measure(round: () => void): Row {
  for (let i = 0; i < ROUNDS; i++) round();
  let best = 0;
  for (let attempt = 0; attempt < 5; attempt++) {
    const start = process.cpuUsage();
    for (let i = 0; i < ROUNDS; i++) round();
    const { user, system } = process.cpuUsage(start);
    best = Math.max(best, (BATCH * ROUNDS) / (user + system));
  }
  return { million_chains_per_s: Number(best.toFixed(2)), bytes_per_chain: allocated(round) };
}

/** Bytes of garbage for each chain: of so few rounds that no collection comes in between. */
function allocated(round: () => void): number | undefined {
  if (globalThis.gc === undefined) return undefined;
  const rounds = 500;
  globalThis.gc();
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < rounds; i++) round();
  const grown = process.memoryUsage().heapUsed - before;
  return Number((grown / (BATCH * rounds)).toFixed(2));
}

/** The device alone: chains that never change are made available again and again, popped and pushed. */
function deviceAlone(indirect: boolean): Row {
  const driver = new PoliteDriver({ size: SIZE, indirect });
  const ring = new RingWriter(driver.device);
  const page = driver.allocator.alloc(4096).address as number;
  for (let n = 0; n < BATCH; n++) {
    const at = indirect ? driver.allocator.alloc(48) : undefined;
    const first = indirect ? 0 : 3 * n;
    const descriptors = [
      { address: page, length: 16, flags: 1, next: first + 1 },
      { address: page + 64, length: 512, flags: 3, next: first + 2 },
      { address: page + 1024, length: 1, flags: 2 },
    ];
    if (at === undefined) descriptors.forEach((d, i) => void ring.descriptor(first + i, d));
    else {
      ring.tableAt(at.address, descriptors);
      ring.descriptor(3 * n, { address: at.address, length: 48, flags: 4 });
    }
  }
  const device = new SplitDeviceQueue(driver.device);
  let index = 0;
  return measure(() => {
    for (let n = 0; n < BATCH; n++) ring.availEntry(index++, 3 * n);
    ring.availIndex = index;
    for (let chain = device.pop(); chain !== undefined; chain = device.pop()) device.push(chain);
    device.publish();
  });
}

/** Both ends; with `copy` the request is read and the answer written. */
function bothEnds(options: { indirect: boolean; eventIdx: boolean; copy: boolean }): Row {
  const driver = new PoliteDriver({ size: SIZE, ...options });
  const device = new SplitDeviceQueue(driver.device);
  const { queue } = driver;
  const readable: GuestBuffer[] = [driver.allocator.alloc(16)];
  const writable: GuestBuffer[] = [driver.allocator.alloc(12), driver.allocator.alloc(4)];
  const token = { readable, writable };
  const request = new Uint8Array(16);
  const answer = new Uint8Array(16);
  const serve = (chain: Chain) => {
    if (!options.copy) return;
    chain.read(request);
    chain.write(answer);
  };
  return measure(() => {
    for (let n = 0; n < BATCH; n++) queue.add(readable, writable, token);
    queue.publish();
    device.disableKicks();
    for (let chain = device.pop(); chain !== undefined; chain = device.pop()) {
      serve(chain);
      device.push(chain);
    }
    device.publish();
    device.enableKicks();
    while (queue.reap() !== undefined);
    queue.enableInterrupts();
  });
}

console.table({
  'device alone, direct': deviceAlone(false),
  'device alone, indirect': deviceAlone(true),
  'both ends': bothEnds({ indirect: false, eventIdx: false, copy: false }),
  'both ends, indirect': bothEnds({ indirect: true, eventIdx: false, copy: false }),
  'both ends, EVENT_IDX': bothEnds({ indirect: false, eventIdx: true, copy: false }),
  'both ends, EVENT_IDX, 16 bytes each way': bothEnds({ indirect: false, eventIdx: true, copy: true }),
});
