declare const space: unique symbol;

/** A guest-physical address in bytes: what descriptors and PCI registers hold. A safe integer. */
export type GuestAddress = number & { readonly [space]: 'guest-physical' };

/** An address in the vhost-user front-end's own virtual memory: what SET_VRING_ADDR holds. A safe integer. */
export type FrontendAddress = number & { readonly [space]: 'front-end virtual' };

/**
 * Joins the two little-endian halves of a 64-bit address without a BigInt.
 *
 * @returns the address, or `NaN` above 2^53 - 1, where no memory can be: every bounds check refuses `NaN`.
 */
export function joinAddress(low: number, high: number): GuestAddress {
  return (high >>> 0 <= 0x1fffff ? (high >>> 0) * 0x1_0000_0000 + (low >>> 0) : Number.NaN) as GuestAddress;
}

/** A le64 as a number, of whatever address space its reader says; `NaN` above 2^53 - 1, which every bounds check refuses. */
export function get64(view: DataView, offset: number): number {
  return joinAddress(view.getUint32(offset, true), view.getUint32(offset + 4, true));
}

/** @param value - a safe integer from 0 on. */
export function set64(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, value % 0x1_0000_0000, true);
  view.setUint32(offset + 4, Math.floor(value / 0x1_0000_0000), true);
}
