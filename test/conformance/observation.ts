import assert from 'node:assert/strict';
import { type Listener, Observer } from '../../src/observe/observer.js';
import { Recorder } from '../../src/record/recorder.js';
import { RecordingReader } from '../../src/record/recording-reader.js';
import type { Clock } from '../../src/virtio/clock.js';
import type { VirtioDevice } from '../../src/virtio/device.js';
import type { Monitor } from '../../src/virtio/monitor.js';

/** Records what passes on a pairing, and looks at the recording when it is over. */
export class Observation {
  readonly #reader = new RecordingReader();
  readonly #recorder: Recorder;
  readonly #clock: Clock;
  /** One for all: their times are of one clock. */
  readonly #listener: Listener;
  #connections = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    const write = (blocks: Uint8Array): boolean => {
      this.#reader.push(blocks);
      return true;
    };
    this.#recorder = new Recorder({ write }, 'a test', () => Date.now());
    this.#listener = this.#recorder.listener(4096);
  }

  monitor(device: VirtioDevice): Monitor {
    this.#connections += 1;
    const where = { connection: this.#connections, socket: '', transport: 'a test' };
    return new Observer(device, where, [this.#listener], () => this.#clock.now());
  }

  /** What is recorded can be: chains in their order, each handed back once at most, none that was not made available. */
  check(): void {
    this.#recorder.flush();
    const queues = new Map<string, { available: number; taken: number; out: Set<number> }>();
    let last = 0;
    for (let event = this.#reader.next(); event !== undefined; event = this.#reader.next()) {
      assert.ok(event.time >= last, 'time goes on');
      last = event.time;
      if (!('queue' in event)) continue;
      const key = `${event.connection} ${event.queue}`;
      if (event.type === 'queue-started') queues.set(key, { available: 0, taken: 0, out: new Set() });
      const queue = queues.get(key)!;
      if (event.type === 'available') queue.available += event.count;
      else if (event.type === 'taken') {
        queue.taken += 1;
        assert.equal(event.chain, queue.taken);
        assert.ok(queue.taken <= queue.available, 'what is taken was made available');
        queue.out.add(event.chain);
      } else if (event.type === 'used')
        assert.ok(queue.out.delete(event.chain), 'what is handed back was taken');
    }
    if (this.#connections > 0) this.#reader.end();
  }
}
