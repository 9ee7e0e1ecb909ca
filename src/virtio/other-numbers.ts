import type { Field } from './field.js';
import { ofKind } from './field-kind.js';

/** -128..127; a value outside wraps. */
export const s8: Field<number> = ofKind('s8', {
  size: 1,
  read: (view, offset) => view.getInt8(offset),
  write: (view, offset, value) => view.setInt8(offset, value),
});

/** -32768..32767; a value outside wraps. */
export const sle16: Field<number> = ofKind('sle16', {
  size: 2,
  read: (view, offset) => view.getInt16(offset, true),
  write: (view, offset, value) => view.setInt16(offset, value, true),
});

/** 0..65535, big-endian, as network protocols and SCSI have it. */
export const be16: Field<number> = ofKind('be16', {
  size: 2,
  read: (view, offset) => view.getUint16(offset),
  write: (view, offset, value) => view.setUint16(offset, value),
});

/** 0..2^32 - 1, big-endian; a value outside wraps. */
export const be32: Field<number> = ofKind('be32', {
  size: 4,
  read: (view, offset) => view.getUint32(offset),
  write: (view, offset, value) => view.setUint32(offset, value),
});

/** 0..2^64 - 1 as a number, big-endian: exact up to 2^53, rounded above. */
export const be64: Field<number> = ofKind('be64', {
  size: 8,
  read: (view, offset) => view.getUint32(offset) * 0x1_0000_0000 + view.getUint32(offset + 4),
  write(view, offset, value) {
    view.setUint32(offset, Math.floor(value / 0x1_0000_0000));
    view.setUint32(offset + 4, value % 0x1_0000_0000);
  },
});

/** 0..2^64 - 1, exactly, big-endian. */
export const be64big: Field<bigint> = ofKind('be64big', {
  size: 8,
  read: (view, offset) => view.getBigUint64(offset),
  write: (view, offset, value) => view.setBigUint64(offset, value),
});
