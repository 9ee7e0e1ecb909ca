import { TransportError } from '../../../virtio/driver-transport.js';
import { STATE_SIZE_MOST } from '../../../virtio/saved-state.js';
import type { Os, Transfer } from '../../ports.js';
import { PROTOCOL_F, REQUEST, STATE_DIRECTION, STATE_NOFD, STATE_PHASE } from '../messages.js';
import { encodeDeviceState } from '../payloads.js';
import type { BackendPeer } from './peer.js';

/** Fetches a device's state from its back-end, and gives one to it, through a pipe (DEVICE_STATE). */
export class DeviceStates {
  readonly #os: Os;
  readonly #peer: BackendPeer;
  /** What is under way, and how it ends when we are closed. */
  readonly #transfers = new Set<() => void>();

  constructor(os: Os, peer: BackendPeer) {
    this.#os = os;
    this.#peer = peer;
  }

  /** @throws TransportError. */
  async save(): Promise<Uint8Array> {
    const { ours, fd } = await this.#offer(STATE_DIRECTION.SAVE);
    const state = await this.#run<Uint8Array>((resolve, reject) =>
      this.#os.readPipe(fd ?? ours, STATE_SIZE_MOST, (result) =>
        result instanceof Uint8Array ? resolve(result) : reject(result),
      ),
    );
    await this.#check('save');
    return state;
  }

  /** @throws TransportError. */
  async load(state: Uint8Array): Promise<void> {
    const { ours, fd } = await this.#offer(STATE_DIRECTION.LOAD);
    const written = this.#run<void>((resolve, reject) =>
      this.#os.writePipe(fd ?? ours, state, (error) => (error === undefined ? resolve() : reject(error))),
    );
    // What it says itself tells more than that it closed the pipe.
    await written.catch(() => {});
    await this.#check('load');
  }

  close(): void {
    for (const end of [...this.#transfers]) end();
  }

  /** SET_DEVICE_STATE_FD. @returns our end of the pipe, or the one that the back-end has instead; ours is closed then. */
  async #offer(direction: number): Promise<{ readonly ours: number; readonly fd: number | undefined }> {
    if (!this.#peer.has(PROTOCOL_F.DEVICE_STATE)) {
      throw new TransportError(
        'REFUSED',
        "the back-end does not hand over the device's state (DEVICE_STATE)",
      );
    }
    const { reader, writer } = this.#os.createPipe();
    const [ours, theirs] = direction === STATE_DIRECTION.SAVE ? [reader, writer] : [writer, reader];
    const fds: number[] = [];
    let value: bigint;
    try {
      const request = encodeDeviceState({ direction, phase: STATE_PHASE.STOPPED });
      value = await this.#peer.askU64(REQUEST.SET_DEVICE_STATE_FD, request, [theirs], fds);
    } catch (error) {
      for (const fd of [ours, ...fds]) this.#os.closeFd(fd);
      throw error;
    } finally {
      this.#os.closeFd(theirs);
    }
    if (value === STATE_NOFD && fds.length === 0) return { ours, fd: undefined };
    this.#os.closeFd(ours);
    const [fd, ...more] = fds;
    for (const extra of more) this.#os.closeFd(extra);
    if (value === 0n && fd !== undefined) return { ours, fd };
    if (fd !== undefined) this.#os.closeFd(fd);
    throw new TransportError('REFUSED', 'the back-end refused SET_DEVICE_STATE_FD');
  }

  async #check(what: string): Promise<void> {
    if ((await this.#peer.askU64(REQUEST.CHECK_DEVICE_STATE)) === 0n) return;
    throw new TransportError('REFUSED', `the back-end could not ${what} the device's state`);
  }

  async #run<T>(
    start: (resolve: (value: T) => void, reject: (error: Error) => void) => Transfer,
  ): Promise<T> {
    let end = (): void => {};
    try {
      return await new Promise<T>((resolve, reject) => {
        const failed = (error: Error): void =>
          reject(new TransportError('LOST', `the pipe for the device's state: ${error.message}`));
        const transfer = start(resolve, failed);
        end = () => {
          transfer.end();
          failed(new Error('the front-end was closed'));
        };
        this.#transfers.add(end);
      });
    } finally {
      this.#transfers.delete(end);
    }
  }
}
