import { TransportError } from '../../../virtio/driver-transport.js';
import type { Os } from '../../ports.js';
import { REQUEST } from '../messages.js';
import * as payloads from '../payloads.js';
import type { BackendPeer } from './peer.js';

/**
 * The inflight region that a back-end made: its front-end keeps it, and hands it to the next one if that is gone. Nothing of it is looked at
 * here.
 */
export class InflightBuffer {
  readonly #os: Os;
  readonly #fd: number;
  readonly #description: Uint8Array;

  private constructor(os: Os, fd: number, description: Uint8Array) {
    this.#os = os;
    this.#fd = fd;
    this.#description = description;
  }

  /**
   * Asks for one (GET_INFLIGHT_FD).
   *
   * @throws TransportError `REFUSED` when there is none.
   */
  static async ask(peer: BackendPeer, os: Os, queues: number, queueSize: number): Promise<InflightBuffer> {
    const wanted = payloads.encodeInflight({ mmapSize: 0, mmapOffset: 0, queues, queueSize });
    const { payload, fds } = await peer.askForFds(REQUEST.GET_INFLIGHT_FD, wanted);
    const got = payload.byteLength === wanted.length ? payloads.decodeInflight(payload) : undefined;
    if (fds.length !== 1 || got === undefined || !(got.mmapSize > 0)) {
      for (const fd of fds) os.closeFd(fd);
      throw new TransportError('REFUSED', 'the back-end has no inflight region (GET_INFLIGHT_FD)');
    }
    return new InflightBuffer(os, fds[0]!, payloads.encodeInflight({ ...got, queues, queueSize }));
  }

  /** Hands it to a back-end (SET_INFLIGHT_FD): the one that made it, or another. */
  async give(peer: BackendPeer): Promise<void> {
    await peer.command(REQUEST.SET_INFLIGHT_FD, this.#description, [this.#fd]);
  }

  close(): void {
    this.#os.closeFd(this.#fd);
  }
}
