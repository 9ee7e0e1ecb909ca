import { GuestMemory } from '../../src/memory/guest-memory.js';
import { ConfigSpace } from '../../src/virtio/config-space.js';
import type { DeviceQueue, VirtioDevice } from '../../src/virtio/device.js';
import { DeviceRunner } from '../../src/virtio/device-runner.js';
import { PackedDeviceQueue } from '../../src/virtqueue/packed/device.js';
import { SplitDeviceQueue } from '../../src/virtqueue/split/device.js';
import { answer, deviceOptions, type Scene, START } from './ends.js';
import type { Run } from './run.js';

/** The same as `serve`, by what runs our devices: it decides when to publish, and when to look once more. */
export function serveByRunner(scene: Scene, run: Run): void {
  const memory = new GuestMemory();
  memory.add({ start: START, view: run.view });
  const options = deviceOptions(scene, memory);
  const queue = scene.layout === 'packed' ? new PackedDeviceQueue(options) : new SplitDeviceQueue(options);
  const later: (() => void)[] = [];
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
  });
  runner.startQueue(0, queue);
  run.begin();
  runner.activate();
  while (taken < scene.requests.length) {
    runner.kick(0);
    for (let next = later.shift(); next !== undefined; next = later.shift()) next();
    if (failure !== undefined) throw new Error(failure);
    if (taken < scene.requests.length) run.wait();
  }
}
