import fc from 'fast-check';

/** Something that is fed with anything that a peer could send. */
export interface Target {
  readonly name: string;
  /** What is counted: one of these is a step. */
  readonly step: string;
  readonly property: fc.IRawProperty<unknown>;
  /** Steps since the process began. */
  readonly done: () => number;
}

/**
 * Makes a target.
 *
 * @param run - throws when it finds something. Returns how many steps it took.
 */
export function target<T>(
  name: string,
  step: string,
  input: fc.Arbitrary<T>,
  run: (input: T) => number,
): Target {
  let steps = 0;
  const property = fc.property(input, (value) => {
    steps += run(value);
  });
  return { name, step, property, done: () => steps } as Target;
}

/** The same for what takes turns of the event loop. */
export function asyncTarget<T>(
  name: string,
  step: string,
  input: fc.Arbitrary<T>,
  run: (input: T) => Promise<number>,
): Target {
  let steps = 0;
  const property = fc.asyncProperty(input, async (value) => {
    steps += await run(value);
  });
  return { name, step, property, done: () => steps } as Target;
}
