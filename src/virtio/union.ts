import { described } from './described.js';
import type { Field } from './field.js';
import { ofKind } from './field-kind.js';
import type { Layout } from './layout.js';
import { didYouMean } from './nearest.js';
import type { Fields, Struct, Values } from './struct.js';

/** The structs of a union by name, each with its tag. */
export type Arms = Readonly<Record<string, readonly [tag: number, struct: Struct<Fields>]>>;

/** What a union stands for: which struct, by name, and its fields. One that nobody knows is `'unknown'`, with its tag. */
export type UnionValues<K extends string, A extends Arms> =
  | {
      [N in keyof A & string]: { [P in K]: N } & (A[N][1] extends Struct<infer F> ? Values<F> : never);
    }[keyof A & string]
  | ({ [P in K]: 'unknown' } & { tag: number });

/** One of several structs, told apart by a number before them. */
export class Union<K extends string, A extends Arms>
  implements Layout<UnionValues<K, A>>, Field<UnionValues<K, A>>
{
  /** Bytes of the tag alone, with which any request begins. */
  readonly size: number;
  readonly most: number;
  readonly #key: K;
  readonly #tag: Field<number>;
  readonly #arms: A;
  readonly #byTag: ReadonlyMap<number, string>;

  constructor(key: K, tag: Field<number>, arms: A) {
    this.#key = key;
    this.#tag = tag;
    this.#arms = arms;
    this.size = tag.size;
    this.most = tag.size + Math.max(0, ...Object.values(arms).map(([, { most }]) => most));
    const byTag = new Map<number, string>();
    for (const [name, [number, { fields }]] of Object.entries(arms)) {
      if (name === UNKNOWN) throw new RangeError(`a union's struct can't be called '${UNKNOWN}'`);
      if (key in fields)
        throw new RangeError(`${name} has a field ${key}, which tells the union's structs apart`);
      if (byTag.has(number))
        throw new RangeError(`${byTag.get(number)} and ${name} have the same tag ${number}`);
      byTag.set(number, name);
    }
    this.#byTag = byTag;
    ofKind('open', this);
  }

  /**
   * What it consists of, for those who show it.
   *
   * @internal
   */
  get parts(): { readonly key: string; readonly tag: Field<number>; readonly arms: Arms } {
    return { key: this.#key, tag: this.#tag, arms: this.#arms };
  }

  get outline(): string {
    return `{ ${this.#key}: ${Object.keys(this.#arms).join(' | ')}, ... }`;
  }

  /** @throws RangeError when the struct that the tag names is not all there. */
  decode(from: Uint8Array): UnionValues<K, A> {
    if (from.length < this.size) throw new RangeError(`a tag of ${this.size} bytes is not in ${from.length}`);
    const tag = this.#tag.read(new DataView(from.buffer, from.byteOffset, this.size), 0);
    const name = this.#byTag.get(tag);
    if (name === undefined) return { [this.#key]: UNKNOWN, tag } as UnionValues<K, A>;
    const arm = this.#arms[name]![1];
    const rest = from.subarray(this.size);
    if (rest.length < arm.size)
      throw new RangeError(`${name} ${arm.outline} has ${this.size + arm.size} bytes, not ${from.length}`);
    return { [this.#key]: name, ...arm.decode(rest) } as UnionValues<K, A>;
  }

  encode(values: UnionValues<K, A>): Uint8Array {
    const out = new Uint8Array(this.sizeOf(values));
    this.write(new DataView(out.buffer), 0, values);
    return out;
  }

  sizeOf(values: UnionValues<K, A>): number {
    return this.size + (this.#armOf(values)?.[1].sizeOf(values as never) ?? 0);
  }

  problem(values: unknown): string | undefined {
    if (typeof values !== 'object' || values === null)
      return `it is ${described(values)}, and not ${this.outline}`;
    const { [this.#key]: name, ...rest } = values as Record<string, unknown>;
    if (name === UNKNOWN) return undefined;
    if (typeof name !== 'string' || !Object.hasOwn(this.#arms, name)) {
      const near = typeof name === 'string' ? didYouMean(name, Object.keys(this.#arms)) : '';
      return `${this.#key} is ${described(name)}, and none of ${Object.keys(this.#arms).join(', ')}${near}`;
    }
    return this.#arms[name]![1].problem(rest);
  }

  /** As a field: a struct's last. */
  read(view: DataView, offset: number): UnionValues<K, A> {
    return this.decode(new Uint8Array(view.buffer, view.byteOffset + offset, view.byteLength - offset));
  }

  /** As a field. */
  write(view: DataView, offset: number, values: UnionValues<K, A>): void {
    const arm = this.#armOf(values);
    this.#tag.write(view, offset, arm === undefined ? (values as { tag: number }).tag : arm[0]);
    arm?.[1].write(view, offset + this.size, values as never);
  }

  /** @throws TypeError when there is none of that name. */
  #armOf(values: UnionValues<K, A>): Arms[string] | undefined {
    const name = values[this.#key] as string;
    if (name === UNKNOWN) return undefined;
    if (!Object.hasOwn(this.#arms, name)) throw new TypeError(this.problem(values));
    return this.#arms[name];
  }
}

const UNKNOWN = 'unknown';

/**
 * Declares one of several structs, told apart by a number that comes first: as a queue's request, or as the last field of a struct.
 *
 * @param key - what the values call the name of the struct that it is: `{ type: 'SET', delay: 5 }`. A tag that is not among them is
 *   `{ type: 'unknown', tag: 9 }`.
 * @param tag - the number's field.
 * @throws RangeError for two of the same tag, or a struct with a field that is called `key`.
 */
export function union<const K extends string, const A extends Arms>(
  key: K,
  tag: Field<number>,
  arms: A,
): Union<K, A> {
  return new Union(key, tag, arms);
}
