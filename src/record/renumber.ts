import { EPB, IDB, PACKET_AT, SHB } from './pcapng.js';

/** Where a packet says which connection it is of. */
const CONNECTION_AT: number = PACKET_AT + 4;
const INTERFACE_AT = 8;

/** Whether a connection is described in these blocks: from then on it is in the recording. */
export function describesConnection(blocks: Uint8Array): boolean {
  const view = new DataView(blocks.buffer, blocks.byteOffset, blocks.length);
  for (let at = 0; at < blocks.length; at += view.getUint32(at + 4, true))
    if (view.getUint32(at, true) === IDB) return true;
  return false;
}

/**
 * Makes whole blocks of a recording of one connection a part of a recording of many.
 *
 * @param number - of the connection there, from 1 on.
 * @param head - takes the place of the block that describes the connection.
 */
export function renumber(blocks: Uint8Array, number: number, head: Uint8Array): Uint8Array {
  const view = new DataView(blocks.buffer, blocks.byteOffset, blocks.length);
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < blocks.length; ) {
    const type = view.getUint32(at, true);
    const size = view.getUint32(at + 4, true);
    if (type === EPB) {
      const block = blocks.slice(at, at + size);
      const fields = new DataView(block.buffer);
      fields.setUint32(INTERFACE_AT, number - 1, true);
      fields.setUint32(CONNECTION_AT, number, true);
      pieces.push(block);
    } else if (type === IDB) pieces.push(head);
    else if (type !== SHB) pieces.push(blocks.subarray(at, at + size));
    at += size;
  }
  const all = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}
