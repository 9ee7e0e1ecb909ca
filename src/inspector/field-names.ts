import type { Shape } from '../record/shape.js';

/** Names that are offered. */
const MOST = 200;

/** The names of all fields that a request can have, as conditions take them. */
export function fieldNames(shape: Shape | undefined): string[] {
  const names = new Set<string>();
  if (shape !== undefined) collect(shape, '', names);
  return [...names].slice(0, MOST);
}

function collect(shape: Shape, path: string, names: Set<string>): void {
  if (names.size >= MOST) return;
  switch (shape.kind) {
    case 'struct':
      for (const [name, field] of shape.fields) collect(field, path === '' ? name : `${path}.${name}`, names);
      return;
    case 'union':
      names.add(path === '' ? shape.key : `${path}.${shape.key}`);
      for (const [, , arm] of shape.arms) collect(arm, path, names);
      return;
    case 'array':
      collect(shape.element, `${path}[0]`, names);
      return;
    case 'tail':
      if (shape.element === undefined) names.add(`${path}[0]`);
      else collect(shape.element, `${path}[0]`, names);
      return;
    case 'bytes':
      names.add(`${path}[0]`);
      return;
    default:
      if (path !== '') names.add(path);
  }
}
