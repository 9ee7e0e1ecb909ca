import type { GuestAddress } from '../../../memory/address.js';
import * as codec from '../feature-codec.js';
import * as wire from '../messages.js';
import type { Requester } from './requester.js';

/** Bytes of a state in one message. */
const PIECE = 1 << 18;

/** A client's end of what moves a device, and of what is known of the memory that it writes meanwhile. All reject with a `TransportError`. */
export class DeviceState {
  readonly #requester: Requester;
  /** Decodes an answer; ends the connection when it makes no sense. */
  readonly #understand: <T>(what: string, decode: () => T) => T;

  constructor(requester: Requester, understand: <T>(what: string, decode: () => T) => T) {
    this.#requester = requester;
    this.#understand = understand;
  }

  /** Whether the device can be stopped, copied and gone on with elsewhere. */
  async isMovable(): Promise<boolean> {
    const flags = await this.#get(wire.VFIO_DEVICE_FEATURE_MIGRATION, codec.decodeMigration, 8);
    return (flags & wire.VFIO_MIGRATION_STOP_COPY) !== 0;
  }

  /** One of `VFIO_USER_DEVICE_STATE_*`. */
  state(): Promise<number> {
    return this.#get(wire.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, codec.decodeMigState, 8);
  }

  /** Resolves when the device is there. */
  async setState(state: number): Promise<void> {
    await this.#set(wire.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, codec.encodeMigState(state));
  }

  /** All of the device's state, in STOP_COPY. */
  async read(): Promise<Uint8Array> {
    const pieces: Uint8Array[] = [];
    for (;;) {
      const command = wire.VFIO_USER_MIG_DATA_READ;
      const payload = await this.#requester.ask(command, [codec.encodeMigData(PIECE)]);
      const piece = this.#understand('MIG_DATA_READ', () => codec.decodeMigData(payload, command));
      pieces.push(piece);
      if (piece.length >= PIECE) continue;
      const all = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
      let at = 0;
      for (const each of pieces) {
        all.set(each, at);
        at += each.length;
      }
      return all;
    }
  }

  /** Gives the device its state, in RESUMING. */
  async write(state: Uint8Array): Promise<void> {
    for (let at = 0; at < state.length; at += PIECE) {
      const piece = state.subarray(at, at + PIECE);
      await this.#requester.ask(wire.VFIO_USER_MIG_DATA_WRITE, [codec.encodeMigData(piece.length), piece]);
    }
  }

  /** Has the pages logged that the device writes. @returns the size of those that it logs. */
  async startLogging(pageSize: number): Promise<number> {
    const feature = wire.VFIO_DEVICE_FEATURE_DMA_LOGGING_START;
    const data = await this.#set(feature, codec.encodeLoggingControl(pageSize, []));
    return this.#understand('DMA_LOGGING_START', () => codec.decodeLoggingControl(data).pageSize);
  }

  async stopLogging(): Promise<void> {
    await this.#set(wire.VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, new Uint8Array());
  }

  /** @returns the pages of a range that were written since they were asked for last: their addresses. */
  async dirtyPages(address: GuestAddress, length: number, pageSize: number): Promise<GuestAddress[]> {
    const bytes = 8 * Math.ceil(length / pageSize / 64);
    const { size } = wire.DMA_LOGGING_REPORT;
    const request = codec.encodeLoggingReport({ address, length, pageSize });
    const pages: GuestAddress[] = [];
    await this.#get(
      wire.VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT,
      (data) => {
        codec.decodeLoggingReport(data);
        for (let bit = 0; bit < 8 * bytes; bit++) {
          const byte = data.getUint8(size + (bit >>> 3));
          if ((byte & (1 << (bit & 7))) !== 0) pages.push((address + bit * pageSize) as GuestAddress);
        }
      },
      size + bytes,
      request,
    );
    return pages;
  }

  async #get<T>(
    feature: number,
    decode: (data: DataView) => T,
    room: number,
    request?: Uint8Array,
  ): Promise<T> {
    const message = codec.encodeFeature(feature, wire.VFIO_DEVICE_FEATURE_GET, request, room);
    const payload = await this.#requester.ask(wire.VFIO_USER_DEVICE_FEATURE, [message]);
    return this.#understand(wire.featureName(feature), () => decode(codec.decodeFeature(payload).data));
  }

  async #set(feature: number, data: Uint8Array): Promise<DataView> {
    const message = codec.encodeFeature(feature, wire.VFIO_DEVICE_FEATURE_SET, data);
    const payload = await this.#requester.ask(wire.VFIO_USER_DEVICE_FEATURE, [message]);
    return this.#understand(wire.featureName(feature), () => codec.decodeFeature(payload).data);
  }
}
