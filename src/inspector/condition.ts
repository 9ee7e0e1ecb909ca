import { didYouMean } from '../virtio/nearest.js';
import type { ReadField } from './read-fields.js';

/** What a condition is asked of. */
export interface Asked {
  readonly fields: readonly ReadField[];
  readonly readable: number;
  readonly writable: number;
  readonly chain: number;
  readonly head: number;
}

/** `misfit`: there is no such field, or its value is of another kind. */
export type Verdict = boolean | 'misfit';

/** Something that is true of a request, or not. */
export type Condition = (asked: Asked) => Verdict;

/** Characters of one, and how deep its brackets go. */
const LONGEST = 500;
const DEPTH = 32;

type Operator = '==' | '!=' | '<' | '<=' | '>' | '>=' | '&';
type Value = number | bigint | string | Uint8Array;
/** What stands on the right side. */
type Literal = { readonly number: bigint } | { readonly text: string } | { readonly name: string };

/**
 * Reads `type == 77 && data[0] & 0x80`.
 *
 * @throws SyntaxError with one line for people.
 */
export function parseCondition(text: string): Condition {
  if (text.length > LONGEST)
    throw new SyntaxError(`a condition has at most ${LONGEST} characters, not ${text.length}`);
  const parser = new Parser(words(text));
  const condition = parser.any(0);
  parser.end();
  return condition;
}

const WORD =
  /\s*(&&|\|\||[=!<>]=|[<>&()]|"(?:[^"\\]|\\.)*"|'[^']*'|-?0x[0-9a-f]+|-?\d+|[$A-Za-z_][\w.[\]$]*)/giy;

function words(text: string): string[] {
  const found: string[] = [];
  const trimmed = text.trimEnd();
  WORD.lastIndex = 0;
  while (WORD.lastIndex < trimmed.length) {
    const at = WORD.lastIndex;
    const match = WORD.exec(trimmed);
    if (match === null) throw new SyntaxError(`'${trimmed.slice(at).trim().slice(0, 20)}' can't be read`);
    found.push(match[1]!);
  }
  return found;
}

class Parser {
  readonly #words: readonly string[];
  #at = 0;

  constructor(words: readonly string[]) {
    this.#words = words;
  }

  end(): void {
    const more = this.#words[this.#at];
    if (more !== undefined) throw new SyntaxError(`there is '${more}' where && or || can be`);
  }

  any(depth: number): Condition {
    const parts = [this.#all(depth)];
    while (this.#take('||')) parts.push(this.#all(depth));
    return parts.length === 1 ? parts[0]! : (asked) => joined(parts, asked, true);
  }

  #all(depth: number): Condition {
    const parts = [this.#one(depth)];
    while (this.#take('&&')) parts.push(this.#one(depth));
    return parts.length === 1 ? parts[0]! : (asked) => joined(parts, asked, false);
  }

  #one(depth: number): Condition {
    if (depth > DEPTH) throw new SyntaxError('there are too many brackets');
    if (this.#take('(')) {
      const inner = this.any(depth + 1);
      if (!this.#take(')')) throw new SyntaxError('a ) is missing');
      return inner;
    }
    const path = this.#next('the name of a field');
    if (!/^[$A-Za-z_]/.test(path)) throw new SyntaxError(`write the name of a field first, not '${path}'`);
    checkSpecial(path);
    const operator = this.#next('one of == != < <= > >= &');
    if (!['==', '!=', '<', '<=', '>', '>=', '&'].includes(operator))
      throw new SyntaxError(`write one of == != < <= > >= & behind ${path}, not '${operator}'`);
    const literal = literalOf(this.#next('a number, a name or a text in quotes'));
    if (operator === '&' && 'text' in literal) throw new SyntaxError('write a number behind &');
    return (asked) => compare(path, operator as Operator, literal, asked);
  }

  #next(what: string): string {
    const word = this.#words[this.#at];
    if (word === undefined) throw new SyntaxError(`it ends where ${what} should be`);
    this.#at += 1;
    return word;
  }

  #take(word: string): boolean {
    if (this.#words[this.#at] !== word) return false;
    this.#at += 1;
    return true;
  }
}

const SPECIAL = ['$readable', '$writable', '$chain', '$head'];

function checkSpecial(path: string): void {
  if (path.startsWith('$') && !SPECIAL.includes(path))
    throw new SyntaxError(
      `there is no ${path}${didYouMean(path, SPECIAL) || `: take one of ${SPECIAL.join(', ')}`}`,
    );
}

function literalOf(word: string): Literal {
  if (word.startsWith('"')) {
    try {
      return { text: JSON.parse(word) as string };
    } catch {
      throw new SyntaxError(`${word} is no text`);
    }
  }
  if (word.startsWith("'")) return { text: word.slice(1, -1) };
  if (/^-?\d/.test(word)) return { number: word.startsWith('-') ? -BigInt(word.slice(1)) : BigInt(word) };
  if (/^[A-Za-z_]\w*$/.test(word)) return { name: word };
  throw new SyntaxError(`write a number, a name or a text in quotes, not '${word}'`);
}

/** One that can't be asked is no yes; and it is said only when nothing else decides. */
function joined(parts: readonly Condition[], asked: Asked, any: boolean): Verdict {
  let misfit = false;
  for (const part of parts) {
    const verdict = part(asked);
    if (verdict === 'misfit') misfit = true;
    else if (verdict === any) return any;
  }
  return misfit ? 'misfit' : !any;
}

function compare(path: string, operator: Operator, literal: Literal, asked: Asked): Verdict {
  const found = SPECIAL.includes(path)
    ? { value: asked[path.slice(1) as 'readable' | 'writable' | 'chain' | 'head'] }
    : fieldAt(asked.fields, path);
  if (found?.value === undefined) return 'misfit';
  const { value } = found;
  if ('name' in literal) return byName(found as ReadField, operator, literal.name);
  if ('text' in literal) return typeof value === 'string' ? ordered(value, operator, literal.text) : 'misfit';
  if (typeof value === 'number' || typeof value === 'bigint') {
    const number = BigInt(value);
    return operator === '&' ? (number & literal.number) !== 0n : ordered(number, operator, literal.number);
  }
  return 'misfit';
}

function byName({ arm }: ReadField, operator: Operator, name: string): Verdict {
  if (operator === '==') return arm === name;
  return operator === '!=' ? arm !== name : 'misfit';
}

function ordered<T extends bigint | string>(left: T, operator: Operator, right: T): Verdict {
  switch (operator) {
    case '==':
      return left === right;
    case '!=':
      return left !== right;
    case '<':
      return left < right;
    case '<=':
      return left <= right;
    case '>':
      return left > right;
    case '>=':
      return left >= right;
    case '&':
      return 'misfit';
  }
}

/** By its path, as in `body.data[2]`; a name alone wherever it is. One byte of bytes is a number. */
export function fieldAt(
  fields: readonly ReadField[],
  path: string,
): { readonly value?: Value; readonly arm?: string } | undefined {
  const steps = path.split(/\.|(?=\[)/);
  const first = steps.length === 1 ? anywhere(fields, path) : named(fields, steps[0]!);
  let field: { readonly value?: Value; readonly fields?: readonly ReadField[] } | undefined =
    first ?? (steps.length > 1 ? anywhere(fields, steps[0]!) : undefined);
  for (const step of steps.slice(1)) {
    const index = /^\[(\d{1,9})\]$/.exec(step)?.[1];
    if (field?.value instanceof Uint8Array && index !== undefined) {
      const byte: number | undefined = field.value[Number(index)];
      field = byte === undefined ? undefined : { value: byte };
    } else field = named(field?.fields ?? [], step);
  }
  return field;
}

function named(fields: readonly ReadField[], name: string): ReadField | undefined {
  return fields.find((field) => field.name === name);
}

function anywhere(fields: readonly ReadField[], name: string): ReadField | undefined {
  const here = named(fields, name);
  if (here !== undefined) return here;
  for (const field of fields) {
    const inner = anywhere(field.fields ?? [], name);
    if (inner !== undefined) return inner;
  }
  return undefined;
}
