import { writeElements } from './array.js';
import { copyOf } from './copy-of.js';
import { type Field, isOpen } from './field.js';
import { ofKind } from './field-kind.js';

/**
 * What follows up to the end of the message, as bytes. Only the last field of a struct can be one.
 *
 * @param most - bytes; a request with more is refused.
 */
export function tail(most: number): Field<Uint8Array>;
/**
 * What follows up to the end of the message, as elements of one kind; bytes after the last whole one are left alone.
 *
 * @param most - elements; a request with more is refused.
 */
export function tail<T>(element: Field<T>, most: number): Field<T[]>;
export function tail<T>(element: Field<T> | number, most?: number): Field<Uint8Array> | Field<T[]> {
  if (typeof element === 'number') return ofKind('open', bytesTail(checked(element)));
  if (isOpen(element) || element.size === 0)
    throw new RangeError('the elements of a tail are of one length, which is not 0');
  return ofKind('open', elementsTail(element, checked(most)));
}

/** What a tail is made of, for the check of answers; `undefined` for bytes. */
export interface TailField<T> extends Field<T[]> {
  readonly element: Field<T>;
}

function bytesTail(most: number): Field<Uint8Array> {
  return {
    size: 0,
    most,
    sizeOf: (value) => value.length,
    read: ({ buffer, byteOffset, byteLength }, offset) =>
      copyOf(new Uint8Array(buffer, byteOffset + offset, byteLength - offset)),
    write({ buffer, byteOffset }, offset, value) {
      if (value.length > most) throw new RangeError(`${value.length} bytes do not fit into ${most}`);
      new Uint8Array(buffer, byteOffset + offset, value.length).set(value);
    },
  };
}

function elementsTail<T>(element: Field<T>, most: number): TailField<T> {
  const { size } = element;
  return {
    size: 0,
    most: most * size,
    element,
    sizeOf: (values) => values.length * size,
    read: (view, offset) =>
      Array.from({ length: Math.floor((view.byteLength - offset) / size) }, (_, i) =>
        element.read(view, offset + i * size),
      ),
    write(view, offset, values) {
      if (values.length > most) throw new RangeError(`${values.length} elements do not fit into ${most}`);
      new Uint8Array(view.buffer, view.byteOffset + offset, values.length * size).fill(0);
      writeElements(view, offset, element, values);
    },
  };
}

function checked(most: unknown): number {
  if (Number.isSafeInteger(most) && (most as number) > 0) return most as number;
  throw new RangeError(`a tail has ${most} elements or bytes at most: take a whole number from 1 on`);
}
