import { virtioMisc } from '../../src/devices/misc/device.js';
import * as wire from '../../src/devices/misc/wire.js';
import type { DeviceHost, DeviceQueue, VirtioDevice } from '../../src/virtio/device.js';
import type { Chain } from '../../src/virtqueue/chain.js';

/** What a virtio-misc device may do to its driver. */
export type Mood =
  /** What it should. */
  | 'honest'
  /** Nothing: requests are taken and never answered. */
  | 'silent'
  /** Refuses whatever is set. */
  | 'refuse'
  /** Notifies of a timer, and refuses it then. */
  | 'notify, then refuse'
  /** Answers with a status that does not exist. */
  | 'no such status'
  /** Answers with too few bytes, or none. */
  | 'short answer'
  /** Notifies of timers that nobody set. */
  | 'stray expiry'
  /** Notifies again and again of each timer that is set, with counts of all sizes. */
  | 'doubled expiry'
  /** Notifications that are too short, or of no known type. */
  | 'strange notification'
  /** Says for each request that its configuration changed, and changes it. */
  | 'configuration changes'
  /** Asks for a reset with each request. */
  | 'needs a reset';

/** A virtio-misc device that does what its `mood` says, in which it starts anew after each reset. */
export class HostileMisc implements VirtioDevice {
  readonly #honest = virtioMisc()();
  readonly id: number = this.#honest.id;
  readonly name: string = this.#honest.name;
  readonly features: bigint = this.#honest.features;
  readonly queues: VirtioDevice['queues'] = this.#honest.queues;
  readonly config: VirtioDevice['config'] = this.#honest.config;
  readonly #mood: () => Mood;
  #host!: DeviceHost;

  constructor(mood: () => Mood) {
    this.#mood = mood;
  }

  activate(host: DeviceHost): void {
    this.#host = host;
    this.#honest.activate?.(host);
  }

  reset(): void {
    this.#honest.reset?.();
  }

  queueNotified(queue: DeviceQueue): void {
    if (this.#mood() === 'honest' || queue.index !== wire.CONTROLQ) {
      this.#honest.queueNotified(queue);
      return;
    }
    for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) this.#serve(queue, chain);
  }

  #serve(queue: DeviceQueue, chain: Chain): void {
    const request = new DataView(new ArrayBuffer(wire.SET_TIMER_NS.size));
    chain.read(new Uint8Array(request.buffer));
    const type = request.getUint32(0, true);
    const id = request.getUint32(type === wire.VIRTIO_MISC_SET_TIMER_NS ? 4 : 8, true);
    const { OK, NO_SPACE } = wire.STATUS;
    switch (this.#mood()) {
      case 'silent':
        break;
      case 'refuse':
        this.#answer(queue, chain, NO_SPACE);
        break;
      case 'notify, then refuse':
        this.#notify(id, 1);
        this.#answer(queue, chain, NO_SPACE);
        break;
      case 'no such status':
        this.#answer(queue, chain, 0xdead_beef);
        break;
      case 'short answer':
        this.#answer(queue, chain, OK, id % 4);
        break;
      case 'stray expiry':
        for (const stray of [0, id + 1, id + 1000, 0x7fff_ffff, 0xffff_ffff]) this.#notify(stray, 1);
        this.#answer(queue, chain, OK);
        break;
      case 'doubled expiry':
        this.#answer(queue, chain, OK);
        for (const count of [1, 0, 2 ** 53, 1]) this.#notify(id, count);
        break;
      case 'strange notification':
        for (const length of [0, 1, 4, 7, 9, 15]) this.#notify(id, 1, length);
        this.#notify(id, 1, 16, 77);
        this.#answer(queue, chain, OK);
        break;
      case 'configuration changes':
        this.config.view.setUint32(0, (id * 7919) >>> 0, true);
        this.#host.configChanged();
        this.#answer(queue, chain, OK);
        break;
      default:
        queue.fail(new Error('this device needs a reset'));
    }
  }

  #answer(queue: DeviceQueue, chain: Chain, status: number, length = 4): void {
    const bytes = new DataView(new ArrayBuffer(4));
    bytes.setUint32(0, status, true);
    chain.write(new Uint8Array(bytes.buffer), 0, length);
    queue.push(chain);
  }

  #notify(id: number, count: number, length = 16, type: number = wire.VIRTIO_MISC_TIMER_EXPIRED): void {
    const notifyq = this.#host.queues[wire.NOTIFYQ]!;
    const chain = notifyq.pop();
    if (chain === undefined) return;
    const bytes = new DataView(new ArrayBuffer(16));
    bytes.setUint32(0, type, true);
    bytes.setUint32(4, id, true);
    bytes.setBigUint64(8, BigInt(count), true);
    chain.write(new Uint8Array(bytes.buffer), 0, length);
    notifyq.push(chain);
  }
}
