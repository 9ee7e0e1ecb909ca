import { ACCESS_READ, ACCESS_WRITE } from '../../../memory/translated-memory.js';
import { encodeIotlb, type IotlbMessage } from '../iotlb-message.js';
import { IOTLB_TYPE } from '../messages.js';

/** The IOMMU that a front-end is to its back-end (ACCESS_PLATFORM): says what the driver's addresses mean, a piece at a time. */
export class FrontendIommu {
  readonly #start: number;
  readonly #size: number;
  readonly #granule: number;

  /**
   * @param start - where the memory is for the driver.
   * @param granule - bytes of a piece, a power of two from 4096 on.
   * @throws RangeError when it is none.
   */
  constructor(start: number, size: number, granule: number) {
    if (!(granule >= 4096 && Number.isInteger(Math.log2(granule)))) {
      throw new RangeError(`a granule of ${granule} bytes is no power of two from 4096 on`);
    }
    this.#start = start;
    this.#size = size;
    this.#granule = granule;
  }

  /**
   * Answers a miss.
   *
   * @param userStart - where the memory is in what the back-end takes for our own.
   * @returns the update to send; `undefined` when there is no such memory.
   */
  updateFor({ type, iova }: IotlbMessage, userStart: number): Uint8Array | undefined {
    if (type !== IOTLB_TYPE.MISS || !(iova >= this.#start && iova < this.#start + this.#size))
      return undefined;
    const offset = Math.floor((iova - this.#start) / this.#granule) * this.#granule;
    return encodeIotlb({
      type: IOTLB_TYPE.UPDATE,
      iova: this.#start + offset,
      size: Math.min(this.#granule, this.#size - offset),
      userAddress: userStart + offset,
      access: ACCESS_READ | ACCESS_WRITE,
    });
  }

  /** Takes translations back: all of them unless told. */
  invalidation(iova: number = this.#start, size: number = this.#size): Uint8Array {
    return encodeIotlb({ type: IOTLB_TYPE.INVALIDATE, iova, size, userAddress: 0, access: 0 });
  }
}
