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
