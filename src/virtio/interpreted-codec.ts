import { copyOf } from './copy-of.js';
import { isOpen } from './field.js';
import type { PlacedField, StructCodec } from './struct-codec.js';

/** Goes from field to field: for where no code may be made, and the plain statement of what compiled codecs do. */
export function interpretedCodec(size: number, fields: readonly PlacedField[]): StructCodec {
  const last = fields.at(-1);
  const open = last !== undefined && isOpen(last.field);
  return {
    decode(bytes) {
      const view = new DataView(copyOf(open ? bytes : bytes.subarray(0, size)).buffer);
      return Object.fromEntries(fields.map(({ name, field, offset }) => [name, field.read(view, offset)]));
    },
    encode(values, into) {
      into.fill(0, 0, size);
      const view = new DataView(into.buffer, into.byteOffset, open ? into.length : size);
      for (const { name, field, offset } of fields) {
        const value = values[name];
        if (value !== undefined) field.write(view, offset, value);
      }
    },
  };
}
