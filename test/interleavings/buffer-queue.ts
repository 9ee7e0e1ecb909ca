import { BufferQueue } from '../../src/virtio/buffer-queue.js';
import type { Exchange } from '../../src/virtio/exchange.js';
import type { DriverQueue } from '../../src/virtqueue/driver-queue.js';
import { answerTo, demand, driverOf, type Scene } from './ends.js';
import type { Run } from './run.js';

/** The same as `drive`, by what our drivers have: it posts room for answers, which are all `out`, and sleeps until it is interrupted. */
export function driveByBufferQueue(scene: Scene, run: Run): void {
  const { memory, allocator, queue } = driverOf(scene, run.view);
  const failures: Error[] = [];
  const buffers = new BufferQueue(queue as unknown as DriverQueue<Exchange>, memory, allocator, (error) =>
    failures.push(error),
  );
  buffers.kick = () => run.ring();
  const back = new Set<number>();
  /** What a promise would do in a moment. */
  function publish(): void {
    buffers.hold();
    buffers.goOn();
  }
  run.begin();
  for (const index of scene.requests.keys()) {
    buffers.post(4, (written) => {
      demand(`what was written for request ${index}`, written.length, 4);
      const answer = new DataView(written.buffer, written.byteOffset).getUint32(0, true);
      demand(`the answer to request ${index}`, answer, answerTo(index));
      demand(`that request ${index} was answered before`, back.has(index), false);
      back.add(index);
    });
    if (scene.each === true) publish();
  }
  for (;;) {
    publish();
    if (failures.length > 0) throw failures[0];
    if (back.size === scene.requests.length) return;
    run.wait();
    buffers.interrupted();
  }
}
