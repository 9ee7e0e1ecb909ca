import { GuestMemory } from '../../src/memory/guest-memory.js';
import { ConfigSpace } from '../../src/virtio/config-space.js';
import type { DeviceQueue, VirtioDevice } from '../../src/virtio/device.js';
import { DeviceRunner } from '../../src/virtio/device-runner.js';
import { Spin } from '../../src/virtio/poller.js';
import { PackedDeviceQueue } from '../../src/virtqueue/packed/device.js';
import { SplitDeviceQueue } from '../../src/virtqueue/split/device.js';
import { answer, deviceOptions, type Scene, START } from './ends.js';
import type { Run } from './run.js';

/** The same as `serve`, by what runs our devices: it decides when to publish, and when to look once more. */
export function serveByRunner(scene: Scene, run: Run): void {
  serveBy(scene, run, false);
}

/** The same, with a look at the ring after each kick and each request before kicks are asked for again. */
export function serveByPolling(scene: Scene, run: Run): void {
  serveBy(scene, run, true);
}

function serveBy(scene: Scene, run: Run, poll: boolean): void {
  const memory = new GuestMemory();
  memory.add({ start: START, view: run.view });
  const options = deviceOptions(scene, memory);
  const queue = scene.layout === 'packed' ? new PackedDeviceQueue(options) : new SplitDeviceQueue(options);
  const later: (() => void)[] = [];
  /** Queues that are looked at, and how often that was. */
  const spinning: Spin[] = [];
  let looks = 0;
  let taken = 0;
  let failure: string | undefined;
  const device: VirtioDevice = {
    id: 1,
    name: 'device',
    features: 0n,
    queues: [{ name: 'queue', size: scene.size }],
    config: new ConfigSpace(0),
    queueNotified(ready: DeviceQueue) {
      for (let chain = ready.pop(); chain !== undefined; chain = ready.pop()) {
        answer(scene, chain, taken);
        taken += 1;
        ready.push(chain);
      }
    },
  };
  const runner = new DeviceRunner(device, {
    clock: { now: () => 0, alarm: () => ({ set() {}, clear() {}, close() {} }) },
    interrupt: () => run.ring(),
    configInterrupt() {},
    broken() {},
    defer: (callback) => later.push(callback),
    print: undefined,
    warn: (line) => {
      failure ??= line;
    },
    poll: poll
      ? (polled) => new Spin(polled, 1, { now: () => looks, started: (spin) => spinning.push(spin) })
      : undefined,
  });
  runner.startQueue(0, queue);
  run.begin();
  runner.activate();
  while (taken < scene.requests.length) {
    runner.kick(0);
    do {
      for (let next = later.shift(); next !== undefined; next = later.shift()) next();
      looks += 1;
      for (const spin of spinning) spin.look(looks);
      if (spinning[0]?.resting === true) spinning.length = 0;
    } while (later.length + spinning.length > 0 && taken < scene.requests.length);
    if (failure !== undefined) throw new Error(failure);
    if (taken < scene.requests.length) run.wait();
  }
}
