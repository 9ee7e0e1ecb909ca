/** What a table of wire constants says: its numbers, and its tables of numbers; functions and sets made of them are left out. */
export function numbersOf(module: object): Record<string, unknown> {
  const isNumber = (value: unknown): boolean => typeof value === 'number' || typeof value === 'bigint';
  return Object.fromEntries(
    Object.entries(module)
      .filter(
        ([, value]) =>
          isNumber(value) ||
          (typeof value === 'object' && !(Symbol.iterator in value) && Object.values(value).every(isNumber)),
      )
      .map(([name, value]) => [name, isNumber(value) ? value : { ...value }]),
  );
}
