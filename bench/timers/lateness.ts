/*
 * How late the device is: `lateness.js TIMERS SPAN_MS` sets timers through a ring in memory and looks, at each interrupt, how long ago
 * they were due. Prints quantiles in us as JSON, as `timers-timerfd.c` does. As many go before and are not counted: what is
 * compiled while it runs is compiled then. The
 * driver is as bare as C's: buffers that stay, no object for a request.
 */
import { virtioMisc } from '../../src/devices/misc/device.js';
import * as wire from '../../src/devices/misc/wire.js';
import { LinuxOs } from '../../src/linux/linux-os.js';
import type { GuestAddress } from '../../src/memory/address.js';
import { GuestMemory } from '../../src/memory/guest-memory.js';
import { MappedView } from '../../src/memory/mapped-view.js';
import { DeviceRunner } from '../../src/virtio/device-runner.js';
import { RING_FEATURES } from '../../src/virtio/features.js';
import { SplitDeviceQueue } from '../../src/virtqueue/split/device.js';

const [count = 10_000, span = 1000] = process.argv.slice(2).map(Number);
const SIZE = 256;
/** From one queue to the next, and in each of them; bytes of a buffer. */
const QUEUE = 0x10000;
const AVAIL = 0x2000;
const USED = 0x4000;
const BUFFERS = 0x8000;
const BUFFER = 64;
const STATUS = 32;
const DESC_F_NEXT = 1;
const DESC_F_WRITE = 2;

const os = new LinuxOs();
const { clock } = os;
const buffer = new ArrayBuffer(2 * QUEUE);
const memory = new GuestMemory();
memory.add({ start: 0 as GuestAddress, view: new MappedView(buffer) });
const view = new DataView(buffer);
const avail = [0, 0];
let seen = 0;
const early = count;
const deadlines = new Float64Array(early + count);
const late = new Float64Array(early + count);
let set = 0;
let taken = 0;
let expected = 0;

const device = virtioMisc({ maxTimers: early + count })();
const runner = new DeviceRunner(device, {
  clock,
  interrupt: (queue) => {
    if (queue === wire.NOTIFYQ) takeAll();
  },
  configInterrupt: () => {},
  broken: (queue) => {
    throw new Error(`queue ${queue} is broken`);
  },
  defer: (callback) => void setImmediate(callback),
  print: undefined,
  warn: (line) => {
    throw new Error(line);
  },
});

function describe(queue: number, index: number, at: number, length: number, flags: number): void {
  const descriptor = queue * QUEUE + 16 * index;
  view.setUint32(descriptor, at, true);
  view.setUint32(descriptor + 8, length, true);
  view.setUint16(descriptor + 12, flags, true);
  view.setUint16(descriptor + 14, index + 1, true);
}

/** Makes a chain available. */
function offer(queue: number, head: number): void {
  const index = avail[queue]!;
  view.setUint16(queue * QUEUE + AVAIL + 4 + 2 * (index % SIZE), head, true);
  avail[queue] = (index + 1) & 0xffff;
  view.setUint16(queue * QUEUE + AVAIL + 2, avail[queue]!, true);
}

const postLater = (): void => runner.kick(wire.NOTIFYQ);

function takeAll(): void {
  const now = clock.now();
  const used = wire.NOTIFYQ * QUEUE + USED;
  const end = view.getUint16(used + 2, true);
  if (seen === end) return;
  while (seen !== end) {
    const head = view.getUint32(used + 4 + 8 * (seen % SIZE), true);
    const id = view.getUint32(wire.NOTIFYQ * QUEUE + BUFFERS + BUFFER * head + 4, true);
    if (now < deadlines[id]!) throw new Error(`timer ${id} was early`);
    late[taken++] = now - deadlines[id]!;
    offer(wire.NOTIFYQ, head);
    seen = (seen + 1) & 0xffff;
  }
  setImmediate(postLater);
  if (taken === expected) setImmediate(taken === early ? measure : report);
}

/** Sets timers; all of them before the first is due. */
function setTimers(timers: number): void {
  const from = set;
  const start = clock.now() + 1e8 + timers * 2e5;
  expected += timers;
  const at = wire.CONTROLQ * QUEUE + BUFFERS;
  for (; set < from + timers; set++) {
    deadlines[set] = start + Math.floor((Math.random() * span * 1e6 * timers) / count);
    const delay = Math.max(0, deadlines[set]! - clock.now());
    view.setUint32(at + wire.SET_TIMER_NS.type, wire.VIRTIO_MISC_SET_TIMER_NS, true);
    view.setUint32(at + wire.SET_TIMER_NS.request_id, set, true);
    view.setBigUint64(at + wire.SET_TIMER_NS.delay_ns, BigInt(delay), true);
    view.setUint32(at + STATUS, ~0, true);
    offer(wire.CONTROLQ, 0);
    runner.kick(wire.CONTROLQ);
    if (view.getUint32(at + STATUS, true) !== wire.STATUS.OK) throw new Error(`timer ${set} was refused`);
  }
  if (clock.now() > start) throw new Error(`${timers} timers were not set in time`);
}

function measure(): void {
  setTimers(count);
}

function report(): void {
  const counted = late.subarray(early).sort();
  const at = (part: number): number => counted[Math.min(count - 1, Math.floor(count * part))]! / 1e3;
  console.log(JSON.stringify({ p50: at(0.5), p99: at(0.99), p999: at(0.999) }));
  runner.close();
  os.close();
}

runner.accept(device.features | RING_FEATURES);
for (const index of [wire.CONTROLQ, wire.NOTIFYQ]) {
  const area = (offset: number): GuestAddress => (index * QUEUE + offset) as GuestAddress;
  const options = {
    memory,
    size: SIZE,
    descriptorArea: area(0),
    driverArea: area(AVAIL),
    deviceArea: area(USED),
    base: 0,
    eventIdx: false,
    indirect: false,
  };
  runner.startQueue(index, new SplitDeviceQueue(options));
}
runner.activate();
const control = wire.CONTROLQ * QUEUE + BUFFERS;
describe(wire.CONTROLQ, 0, control, wire.SET_TIMER_NS.size, DESC_F_NEXT);
describe(wire.CONTROLQ, 1, control + STATUS, wire.STATUS_SIZE, DESC_F_WRITE);
for (let head = 0; head < SIZE; head++) {
  const at = wire.NOTIFYQ * QUEUE + BUFFERS + BUFFER * head;
  describe(wire.NOTIFYQ, head, at, wire.NOTIFICATION.sizeWithCount, DESC_F_WRITE);
  offer(wire.NOTIFYQ, head);
}
runner.kick(wire.NOTIFYQ);
setTimers(early);
