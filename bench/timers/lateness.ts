/*
 * How late the device is: `lateness.js TIMERS SPAN_MS` sets timers through a ring in memory and looks, at each interrupt, how long ago
 * they were due. Prints quantiles in us as JSON, as `timers-timerfd.c` does.
 */
import { virtioMisc } from '../../src/devices/misc/device.js';
import * as wire from '../../src/devices/misc/wire.js';
import { LinuxOs } from '../../src/linux/linux-os.js';
import { DeviceRunner } from '../../src/virtio/device-runner.js';
import { RING_FEATURES } from '../../src/virtio/features.js';
import { SplitDeviceQueue } from '../../src/virtqueue/split/device.js';
import { PoliteDriver } from '../../src/virtqueue/testing/polite-driver.js';

const [count = 10_000, span = 1000] = process.argv.slice(2).map(Number);
const os = new LinuxOs();
const { clock } = os;
const device = virtioMisc({ maxTimers: count });
const drivers = device.queues.map(() => new PoliteDriver({ size: 256, eventIdx: false, indirect: false }));
const [control, notify] = drivers as [PoliteDriver, PoliteDriver];
const deadlines = new Float64Array(count);
const late = new Float64Array(count);
let taken = 0;

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

function post(buffers: number): void {
  for (let i = 0; i < buffers; i++) notify.send([], [wire.NOTIFICATION.sizeWithCount]);
  notify.publish();
  setImmediate(() => runner.kick(wire.NOTIFYQ));
}

function takeAll(): void {
  const now = clock.now();
  let buffers = 0;
  for (let used = notify.receive(); used !== undefined; used = notify.receive()) {
    const id = new DataView(used.bytes.buffer, used.bytes.byteOffset).getUint32(4, true);
    if (now < deadlines[id]!) throw new Error(`timer ${id} was early`);
    late[taken++] = now - deadlines[id]!;
    buffers += 1;
  }
  if (buffers > 0) post(buffers);
  if (taken === count) report();
}

function report(): void {
  late.sort();
  const at = (part: number): number => late[Math.min(count - 1, Math.floor(count * part))]! / 1e3;
  console.log(JSON.stringify({ p50: at(0.5), p99: at(0.99), p999: at(0.999) }));
  runner.close();
  os.close();
}

runner.accept(device.features | RING_FEATURES);
drivers.forEach((driver, queue) => void runner.startQueue(queue, new SplitDeviceQueue(driver.device)));
runner.activate();
post(200);
// All are set before the first is due.
const start = clock.now() + 3e8 + count * 4e5;
const request = new DataView(new ArrayBuffer(wire.SET_TIMER_NS.size));
for (let id = 0; id < count; id++) {
  const deadline = start + Math.floor(Math.random() * span * 1e6);
  request.setUint32(wire.SET_TIMER_NS.type, wire.VIRTIO_MISC_SET_TIMER_NS, true);
  request.setUint32(wire.SET_TIMER_NS.request_id, id, true);
  const now = clock.now();
  request.setBigUint64(wire.SET_TIMER_NS.delay_ns, BigInt(Math.max(0, deadline - now)), true);
  deadlines[id] = deadline;
  control.send([new Uint8Array(request.buffer)], [wire.STATUS_SIZE]);
  control.publish();
  runner.kick(wire.CONTROLQ);
  control.receive();
}
