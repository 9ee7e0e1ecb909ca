import { StateError } from './saved-state.js';

/** A part of a state that came from elsewhere, as fields by name. Each is looked at before it is believed. */
export class StateFields {
  readonly #fields: Readonly<Record<string, unknown>>;
  readonly #where: string;

  /** @throws StateError when it has no fields, as all that is asked for here. */
  constructor(value: unknown, where: string) {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw new StateError(`${where} is not there`);
    }
    this.#fields = value as Record<string, unknown>;
    this.#where = where;
  }

  /** Anything. */
  any(name: string): unknown {
    return Object.hasOwn(this.#fields, name) ? this.#fields[name] : undefined;
  }

  /** A whole number from 0 to `most`. */
  number(name: string, most: number): number {
    const value = this.any(name);
    if (Number.isInteger(value) && (value as number) >= 0 && (value as number) <= most)
      return value as number;
    throw this.#wrong(name);
  }

  boolean(name: string): boolean {
    const value = this.any(name);
    if (typeof value === 'boolean') return value;
    throw this.#wrong(name);
  }

  text(name: string): string {
    const value = this.any(name);
    if (typeof value === 'string') return value;
    throw this.#wrong(name);
  }

  bigint(name: string): bigint {
    const value = this.any(name);
    if (typeof value === 'bigint' && value >= 0n) return value;
    throw this.#wrong(name);
  }

  /** Exactly so many bytes. */
  bytes(name: string, length: number): Uint8Array {
    const value = this.any(name);
    if (value instanceof Uint8Array && value.length === length) return value;
    throw this.#wrong(name);
  }

  /** Exactly so many, each of fields. */
  list(name: string, length: number): StateFields[] {
    const value = this.any(name);
    if (!Array.isArray(value) || value.length !== length) throw this.#wrong(name);
    return value.map((each, index) => new StateFields(each, `${name}[${index}] of ${this.#where}`));
  }

  /** At most so many, each of fields. */
  some(name: string, most: number): StateFields[] {
    const value = this.any(name);
    if (!Array.isArray(value) || value.length > most) throw this.#wrong(name);
    return this.list(name, value.length);
  }

  part(name: string): StateFields {
    return new StateFields(this.any(name), `${name} of ${this.#where}`);
  }

  #wrong(name: string): StateError {
    return new StateError(`${name} of ${this.#where} can't be as it is`);
  }
}
