import { GuestMemory } from '../../src/memory/guest-memory.js';
import { WatchedRing } from '../../src/observe/watched-ring.js';
import { ConfigSpace } from '../../src/virtio/config-space.js';
import type { DeviceQueue, VirtioDevice } from '../../src/virtio/device.js';
import { DeviceRunner } from '../../src/virtio/device-runner.js';
import type { Monitor } from '../../src/virtio/monitor.js';
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

/** What a person does to a ring that is looked at. */
export type Meddling =
  /** It is held from the start, and let go when the device has nothing to do. */
  | 'released'
  /** It is held from the start, and gets one chain each time. */
  | 'stepped'
  /** It is held before its second chain, in the middle of what the device does, and let go later. */
  | 'stopped';

/** The same, with a person who holds the ring and lets it go. @param wakes - whether the device is told to look then. */
export function serveByHeld(how: Meddling, poll: boolean, wakes = true): (scene: Scene, run: Run) => void {
  return (scene, run) => serveBy(scene, run, poll, { how, wakes });
}

function serveBy(
  scene: Scene,
  run: Run,
  poll: boolean,
  held?: { readonly how: Meddling; readonly wakes: boolean },
): void {
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
  let watched: WatchedRing | undefined;
  const monitor: Monitor = {
    ring(_, ring, place, wake) {
      watched = new WatchedRing(ring, place, scene.layout === 'packed', {
        ...UNHEARD,
        wake: held?.wakes === true ? wake : () => {},
      });
      if (held?.how !== 'stopped') watched.hold();
      else watched.stopAt = () => taken === 1;
      return watched;
    },
  };
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
    monitor: held === undefined ? undefined : monitor,
    poll: poll
      ? (polled) => new Spin(polled, 1, { now: () => looks, started: (spin) => spinning.push(spin) })
      : undefined,
  });
  runner.startQueue(0, queue, options);
  run.begin();
  runner.activate();
  /** Chains that were taken when the person acted last. */
  let acted = -1;
  let kicked = true;
  while (taken < scene.requests.length) {
    if (kicked) runner.kick(0);
    do {
      for (let next = later.shift(); next !== undefined; next = later.shift()) next();
      looks += 1;
      for (const spin of spinning) spin.look(looks);
      if (spinning[0]?.resting === true) spinning.length = 0;
    } while (later.length + spinning.length > 0 && taken < scene.requests.length);
    if (failure !== undefined) throw new Error(failure);
    if (taken === scene.requests.length) break;
    // The next step is made when the last one was.
    kicked = watched?.held !== true || acted === taken;
    if (kicked) {
      run.wait();
      continue;
    }
    acted = taken;
    if (held!.how === 'stepped') watched!.step(1);
    else watched!.release();
  }
}

const UNHEARD = {
  connection: 1,
  queue: 0,
  now: () => 0,
  bytes: 0,
  everything: false,
  available: (): void => {},
  taken: (): void => {},
  used: (): void => {},
  suppressed: (): void => {},
};
