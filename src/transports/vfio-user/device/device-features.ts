import * as codec from '../feature-codec.js';
import type { Message } from '../framing.js';
import * as wire from '../messages.js';
import { VfioUserError } from '../vfio-user-error.js';
import { bitmapSize, LOG_PAGE_SIZE } from './dirty-pages.js';
import type { Dma } from './dma.js';
import type { Migration } from './migration.js';

const { VFIO_DEVICE_FEATURE_GET: GET, VFIO_DEVICE_FEATURE_SET: SET, VFIO_DEVICE_FEATURE_PROBE: PROBE } = wire;

/** What can be done with each feature. */
const OPERATIONS: Readonly<Record<number, number>> = {
  [wire.VFIO_DEVICE_FEATURE_MIGRATION]: GET,
  [wire.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE]: GET | SET,
  [wire.VFIO_DEVICE_FEATURE_DMA_LOGGING_START]: SET,
  [wire.VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP]: SET,
  [wire.VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT]: GET,
};

/** What features work on. */
export interface FeaturePorts {
  readonly dma: Dma;
  readonly migration: Migration;
  /** Answers a message, if it wants that. */
  reply(message: Message, ...pieces: Uint8Array[]): void;
  /** Answers one that could not be obeyed. */
  refuse(message: Message, error: VfioUserError): void;
  /** No other command is served until what this returns is called. */
  hold(): () => void;
}

/** DEVICE_FEATURE: what a client that moves its guest asks for. */
export class DeviceFeatures {
  readonly #ports: FeaturePorts;

  constructor(ports: FeaturePorts) {
    this.#ports = ports;
  }

  /** @throws VfioUserError for a request that can't be obeyed; it was not answered. */
  serve(message: Message): void {
    const request = codec.decodeFeature(message.payload);
    const { feature, operations } = request;
    const name = wire.featureName(feature);
    const supported = OPERATIONS[feature];
    if (supported === undefined) throw new VfioUserError('ENOTSUP', `DEVICE_FEATURE: there is no ${name}`);
    if ((operations & ~(GET | SET | PROBE)) !== 0) {
      throw new VfioUserError('EINVAL', `DEVICE_FEATURE of ${name} has flags 0x${operations.toString(16)}`);
    }
    const asked = operations & (GET | SET);
    if ((asked & ~supported) !== 0) {
      const what = (asked & ~supported & SET) !== 0 ? 'set' : 'got';
      throw new VfioUserError('EINVAL', `DEVICE_FEATURE: ${name} can't be ${what}`);
    }
    if ((operations & PROBE) !== 0) this.#ports.reply(message, codec.encodeFeature(feature, operations));
    else if (asked === SET) this.#set(message, request);
    else if (asked === GET) this.#get(message, request);
    else
      throw new VfioUserError(
        'EINVAL',
        `DEVICE_FEATURE of ${name} says not what to do: get, set or probe it`,
      );
  }

  #set(message: Message, { feature, data }: codec.Feature): void {
    const { dma } = this.#ports;
    if (feature === wire.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE) {
      this.#change(message, codec.decodeMigState(data));
      return;
    }
    let answer: Uint8Array = new Uint8Array();
    if (feature === wire.VFIO_DEVICE_FEATURE_DMA_LOGGING_START) answer = startLogging(dma, data);
    else dma.stopLogging();
    this.#ports.reply(message, codec.encodeFeature(feature, SET, answer));
  }

  /** Answered when it is there. */
  #change(message: Message, state: number): void {
    const { migration, reply, refuse, hold } = this.#ports;
    const release = hold();
    try {
      migration.change(state, (error) => {
        if (error !== undefined) refuse(message, error);
        else {
          const data = codec.encodeMigState(state);
          reply(message, codec.encodeFeature(wire.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, SET, data));
        }
        release();
      });
    } catch (error) {
      release();
      throw error;
    }
  }

  #get(message: Message, { feature, data, argsz }: codec.Feature): void {
    if (feature !== wire.VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT) {
      const answer =
        feature === wire.VFIO_DEVICE_FEATURE_MIGRATION
          ? codec.encodeMigration(wire.VFIO_MIGRATION_STOP_COPY)
          : codec.encodeMigState(this.#ports.migration.state);
      const size = wire.DEVICE_FEATURE.size + answer.length;
      if (argsz < size) {
        throw new VfioUserError(
          'EINVAL',
          `${wire.featureName(feature)} of ${size} bytes has room for ${argsz}`,
        );
      }
      this.#ports.reply(message, codec.encodeFeature(feature, GET, answer));
      return;
    }
    const range = codec.decodeLoggingReport(data);
    const bitmap = this.#report(range, argsz);
    const head = codec.encodeLoggingReport(range);
    this.#ports.reply(message, codec.encodeFeature(feature, GET, head, head.length + bitmap.length), bitmap);
  }

  /** What is reported is clean then, so it is said first what can't be sent. */
  #report(range: codec.PageRange, argsz: number): Uint8Array {
    const size = wire.DEVICE_FEATURE.size + wire.DMA_LOGGING_REPORT.size + bitmapSize(range);
    if (argsz < size) {
      throw new VfioUserError('EINVAL', `DMA_LOGGING_REPORT of ${size} bytes has room for ${argsz}`);
    }
    return this.#ports.dma.report(range);
  }
}

/** @returns the same with our page size: all memory is logged, whatever ranges the client names. */
function startLogging(dma: Dma, data: DataView): Uint8Array {
  const { pageSize, ranges } = codec.decodeLoggingControl(data);
  if (!(pageSize >= 1 && Number.isInteger(Math.log2(pageSize)))) {
    throw new VfioUserError(
      'EINVAL',
      `DMA_LOGGING_START with pages of ${pageSize} bytes, which is no power of two`,
    );
  }
  const wrong = ranges.find(
    ({ address, length }) => !(length > 0 && address + length <= Number.MAX_SAFE_INTEGER),
  );
  if (wrong !== undefined) {
    const text = `DMA_LOGGING_START of ${wrong.length} bytes at ${wrong.address} can't be`;
    throw new VfioUserError('EINVAL', text);
  }
  dma.startLogging();
  return codec.encodeLoggingControl(LOG_PAGE_SIZE, ranges);
}
