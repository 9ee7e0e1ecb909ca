import { get64, set64 } from '../../memory/address.js';
import { IOTLB, IOTLB_SIZE } from './messages.js';

/** A translation that is missing, that comes, or that goes. */
export interface IotlbMessage {
  /** `IOTLB_TYPE`. */
  readonly type: number;
  /** I/O virtual address. */
  readonly iova: number;
  /** Bytes; 0 where it does not matter. */
  readonly size: number;
  /** The same in the front-end's own memory. */
  readonly userAddress: number;
  /** `ACCESS_READ`, `ACCESS_WRITE`, or both. */
  readonly access: number;
}

export function decodeIotlb(payload: DataView): IotlbMessage {
  return {
    type: payload.getUint8(IOTLB.type),
    iova: get64(payload, IOTLB.iova),
    size: get64(payload, IOTLB.size),
    userAddress: get64(payload, IOTLB.userAddress),
    access: payload.getUint8(IOTLB.access),
  };
}

export function encodeIotlb({ type, iova, size, userAddress, access }: IotlbMessage): Uint8Array {
  const bytes = new Uint8Array(IOTLB_SIZE.most);
  const view = new DataView(bytes.buffer);
  set64(view, IOTLB.iova, iova);
  set64(view, IOTLB.size, size);
  set64(view, IOTLB.userAddress, userAddress);
  bytes[IOTLB.access] = access;
  bytes[IOTLB.type] = type;
  return bytes;
}
