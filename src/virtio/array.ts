import { type Field, isOpen } from './field.js';
import { ofKind } from './field-kind.js';

/** Several fields of one kind, one after the other. */
export interface ArrayField<T> extends Field<T[]> {
  readonly element: Field<T>;
  readonly count: number;
}

/**
 * `count` elements of one kind, one after the other: `array(le16, 8)`, `array(Segment, 4)`. Elements that are left out are zeros.
 *
 * @throws RangeError for a number of elements that can't be, or elements of variable length.
 */
export function array<T>(element: Field<T>, count: number): Field<T[]> {
  if (!(Number.isSafeInteger(count) && count >= 0))
    throw new RangeError(`an array has ${count} elements: take a whole number`);
  if (isOpen(element)) throw new RangeError('the elements of an array are of one length, without a tail');
  const size = element.size * count;
  const field: ArrayField<T> = {
    size,
    element,
    count,
    read: (view, offset) =>
      Array.from({ length: count }, (_, i) => element.read(view, offset + i * element.size)),
    write(view, offset, values) {
      checkFits(values.length, count);
      new Uint8Array(view.buffer, view.byteOffset + offset, size).fill(0);
      writeElements(view, offset, element, values);
    },
  };
  return ofKind('array', field);
}

/** Over zeros: those that are left out stay such. */
export function writeElements<T>(
  view: DataView,
  offset: number,
  element: Field<T>,
  values: readonly T[],
): void {
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (value !== undefined) element.write(view, offset + i * element.size, value);
  }
}

/** @throws RangeError when there are too many. */
export function checkFits(length: number, count: number): void {
  if (length > count) throw new RangeError(`${length} elements do not fit into ${count}`);
}
