import { LinuxOs } from '../../src/linux/linux-os.js';
import type { Channel, Mapping } from '../../src/transports/ports.js';
import { serveVhostUser } from '../../src/transports/vhost-user/device/backend.js';
import { ConfigSpace } from '../../src/virtio/config-space.js';
import type { DeviceQueue, VirtioDevice } from '../../src/virtio/device.js';
import { ALL_RING_FEATURES } from '../../src/virtio/features.js';
import type { Chain } from '../../src/virtqueue/chain.js';
import { WatchedView } from '../../src/virtqueue/testing/watched-view.js';

/*
 * A back-end that is killed: `node backend.js SOCKET [N]` kills itself after its N-th store to memory that it shares. It starts when it is told
 * to, so that it can be ready before it is needed.
 */

/** Answers requests of 8 bytes with twice those, in whatever order, at once or later. */
class ReluctantEcho implements VirtioDevice {
  readonly id = 63;
  readonly name = 'echo';
  readonly features = 0n;
  readonly queues = [{ name: 'q', size: 256 }];
  readonly config: ConfigSpace = new ConfigSpace(0);
  readonly #held: Chain[] = [];
  #queue: DeviceQueue | undefined;
  #due = false;

  queueNotified(queue: DeviceQueue): void {
    this.#queue = queue;
    for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
      if (Math.random() < 0.5) this.#answer(queue, chain);
      else this.#held.push(chain);
    }
    this.#later();
  }

  reset(): void {
    this.#held.length = 0;
  }

  #later(): void {
    if (this.#due || this.#held.length === 0) return;
    this.#due = true;
    setImmediate(() => {
      this.#due = false;
      const queue = this.#queue!;
      for (let n = 1 + Math.floor(Math.random() * 4); n > 0 && this.#held.length > 0; n--) {
        this.#answer(queue, this.#held.splice(Math.floor(Math.random() * this.#held.length), 1)[0]!);
      }
      queue.flush();
      this.#later();
    });
  }

  #answer(queue: DeviceQueue, chain: Chain): void {
    const bytes = chain.readRest();
    chain.write(bytes);
    chain.write(bytes);
    queue.push(chain);
  }
}

const [socket, dieAt] = [process.argv[2]!, Number(process.argv[3] ?? 0)];
let stores = 0;

function count(kind: string): void {
  if (kind === 'read' || kind === 'load') return;
  stores += 1;
  if (stores === dieAt) process.kill(process.pid, 'SIGKILL');
}

class MortalOs extends LinuxOs {
  override map(fd: number, offset: number, size: number): Mapping {
    const mapping = super.map(fd, offset, size);
    if (dieAt === 0) return mapping;
    return {
      ...mapping,
      size,
      view: new WatchedView(mapping.view, { after: count }),
      release: () => mapping.release(),
    };
  }
}

process.once('message', () => {
  const os = new MortalOs();
  const listener = os.listen(socket);
  const accepted = (channel: Channel): void => {
    const environment = {
      os,
      clock: os.clock,
      defer: (callback: () => void): void => void setImmediate(callback),
      print: undefined,
      warn: (line: string): void => console.error(line),
      ringFeatures: ALL_RING_FEATURES,
    };
    serveVhostUser(channel, new ReluctantEcho(), environment, () => process.exit(0));
  };
  listener.accept({ accepted, failed: (error) => console.error(error.message) });
});
process.once('disconnect', () => process.exit(0));
process.send!('ready');
