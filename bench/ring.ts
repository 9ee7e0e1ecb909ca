import type { GuestBuffer } from '../src/memory/guest-allocator.js';
import { PackedDeviceQueue } from '../src/virtqueue/packed/device.js';
import { SplitDeviceQueue } from '../src/virtqueue/split/device.js';
import { PackedRingWriter } from '../src/virtqueue/testing/packed-ring-writer.js';
import { PoliteDriver } from '../src/virtqueue/testing/polite-driver.js';
import { RingWriter } from '../src/virtqueue/testing/ring-writer.js';
import { alternate } from './harness/alternate.js';
import type { Bench, Cell } from './harness/bench.js';
import { figure, ratio } from './harness/figure.js';

const SIZE = 256;
const BATCH = 64;
/** ms, measured. */
const SPAN = 300;
/** Batches between two looks at the time. */
const AT_ONCE = 500;

const SHAPES = ['1', '3', 'indirect'] as const;
type Shape = (typeof SHAPES)[number];
const LAYOUTS = ['split', 'packed'] as const;
type Layout = (typeof LAYOUTS)[number];

/** Handles `BATCH` chains. */
type Round = () => void;

/** What the rings cost by themselves: no socket, no event loop, driver and device in one thread over plain memory. */
export const ring: Bench = async (context) => {
  const yardstick = await context.yardstick('ring-yardstick');
  const span = context.time(SPAN);
  const rows: Cell[][] = [];
  for (const shape of SHAPES) {
    context.progress(`ring: ${shape}`);
    const rounds = LAYOUTS.flatMap((layout) => [deviceAlone[layout](shape), bothEnds(layout, shape)]);
    for (const round of rounds) await measure(round, 2 * span);
    const samples = await alternate(context.rounds, [
      ...LAYOUTS.map(
        (layout) => async () => Number(await context.run([yardstick, layout, shape, String(span)])),
      ),
      ...rounds.map((round) => () => measure(round, span)),
    ]);
    LAYOUTS.forEach((layout, i) => {
      const [c, alone, both] = [samples[i]!, samples[2 + 2 * i]!, samples[3 + 2 * i]!];
      rows.push([`C, ${layout}, the device's end`, shape, figure(c), undefined, undefined]);
      const garbage = rounds.slice(2 * i, 2 * i + 2).map(allocated);
      rows.push([`${layout}, the device's end`, shape, figure(alone), ratio(alone, c), garbage[0]]);
      rows.push([`${layout}, both ends`, shape, figure(both), undefined, garbage[1]]);
    });
  }
  return [
    {
      title: 'ring: chains through a virtqueue, popped, checked and pushed',
      columns: ['ring', 'descriptors', 'chains/s', 'ratio to C', 'bytes allocated'],
      rows,
      notes: [
        'Of CPU time. The driver that belongs to "the device\'s end" only moves the index, or writes again what a device overwrites of a packed ring; C publishes each chain with a sequentially consistent store.',
      ],
    },
  ];
};

/** Chains a second of this process's time. */
async function measure(round: Round, span: number): Promise<number> {
  const start = process.cpuUsage();
  for (let batches = AT_ONCE; ; batches += AT_ONCE) {
    for (let i = 0; i < AT_ONCE; i++) round();
    const { user, system } = process.cpuUsage(start);
    if (user + system >= span * 1000) return (BATCH * batches * 1e6) / (user + system);
  }
}

/** Bytes of garbage for each chain: of so few rounds that no collection comes in between. */
function allocated(round: Round): number | undefined {
  if (globalThis.gc === undefined) return undefined;
  globalThis.gc();
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < AT_ONCE; i++) round();
  return (process.memoryUsage().heapUsed - before) / (BATCH * AT_ONCE);
}

/** Chains that never change are made available again and again. */
const deviceAlone = { split: splitAlone, packed: packedAlone } as const;

function splitAlone(shape: Shape): Round {
  const indirect = shape === 'indirect';
  const driver = new PoliteDriver({ size: SIZE, indirect });
  const writer = new RingWriter(driver.device);
  const page = driver.allocator.alloc(4096).address as number;
  for (let n = 0; n < BATCH; n++) {
    const first = indirect ? 0 : 3 * n;
    const descriptors = [
      { address: page, length: 16, flags: shape === '1' ? 0 : 1, next: first + 1 },
      { address: page + 64, length: 512, flags: 3, next: first + 2 },
      { address: page + 1024, length: 1, flags: 2 },
    ];
    if (!indirect) descriptors.forEach((d, i) => void writer.descriptor(first + i, d));
    else {
      const table = driver.allocator.alloc(48).address;
      writer.tableAt(table, descriptors);
      writer.descriptor(3 * n, { address: table, length: 48, flags: 4 });
    }
  }
  const device = new SplitDeviceQueue(driver.device);
  let index = 0;
  return () => {
    for (let n = 0; n < BATCH; n++) writer.availEntry(index++, 3 * n);
    writer.availIndex = index;
    for (let chain = device.pop(); chain !== undefined; chain = device.pop()) device.push(chain);
    device.publish();
  };
}

/** A ring that a batch fills, so that the same chains come to the same places. */
function packedAlone(shape: Shape): Round {
  const indirect = shape === 'indirect';
  const step = shape === '3' ? 3 : 1;
  const driver = new PoliteDriver({ size: BATCH * step, indirect, packed: true });
  const { descriptorArea, memory } = driver.device;
  const writer = new PackedRingWriter(driver.device);
  const page = driver.allocator.alloc(4096).address as number;
  const three = [
    { address: page, length: 16 },
    { address: page + 64, length: 512, flags: 2 },
    { address: page + 1024, length: 1, flags: 2 },
  ];
  for (let n = 0; n < BATCH; n++) {
    if (!indirect) three.slice(0, step).forEach((d, i) => void writer.descriptor(step * n + i, d));
    else {
      const address = driver.allocator.alloc(48).address;
      writer.tableAt(address, three);
      writer.descriptor(n, { address });
    }
  }
  const device = new PackedDeviceQueue(driver.device);
  const words = memory.view(descriptorArea, 16 * BATCH * step).words!;
  const first = indirect ? 4 : step > 1 ? 1 : 0;
  const laps = [0x80, 0x8000].map((owner) => {
    for (let n = 0; n < BATCH; n++) {
      const at = 4 * step * n;
      for (let i = 1; i < step; i++) words[at + 4 * i + 3] = ((owner | 2 | (i + 1 < step ? 1 : 0)) << 16) | n;
      words[at + 2] = indirect ? 48 : 16;
      words[at + 3] = ((owner | first) << 16) | n;
    }
    return words.slice();
  });
  let lap = 0;
  return () => {
    words.set(laps[lap]!);
    lap = 1 - lap;
    for (let chain = device.pop(); chain !== undefined; chain = device.pop()) device.push(chain);
    device.publish();
  };
}

/** A driver that adds and reaps, and asks to be told of as little as it can. */
function bothEnds(layout: Layout, shape: Shape): Round {
  const packed = layout === 'packed';
  const driver = new PoliteDriver({ size: SIZE, indirect: shape === 'indirect', eventIdx: true, packed });
  const device = packed ? new PackedDeviceQueue(driver.device) : new SplitDeviceQueue(driver.device);
  const { queue } = driver;
  const readable: GuestBuffer[] = [driver.allocator.alloc(16)];
  const writable: GuestBuffer[] =
    shape === '1' ? [] : [driver.allocator.alloc(12), driver.allocator.alloc(4)];
  const token = { readable, writable };
  return () => {
    for (let n = 0; n < BATCH; n++) queue.add(readable, writable, token);
    queue.publish();
    device.disableKicks();
    for (let chain = device.pop(); chain !== undefined; chain = device.pop()) device.push(chain);
    device.publish();
    device.enableKicks();
    while (queue.reap() !== undefined);
    queue.enableInterrupts();
  };
}
