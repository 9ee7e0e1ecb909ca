import type { GuestAddress } from '../../memory/address.js';

/** A walk came upon an indirect table that is not here. */
export class TableWanted {
  readonly address: GuestAddress;
  readonly length: number;

  constructor(address: GuestAddress, length: number) {
    this.address = address;
    this.length = length;
  }
}
