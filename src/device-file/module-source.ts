import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { LOAD_PARAMETER } from './load-marks.js';
import { locateSyntaxError, stripTypes } from './strip-types.js';

// What Node's module hooks do for the modules that a device file is made of: the file and what it imports, but for packages. Each
// load of them carries a number of its own in their addresses, because Node keeps every module that it has loaded once.

const OWN_ENTRY = new URL('../index.js', import.meta.url).href;
/** How a file in this package's own folder may name the same. */
const OWN_SOURCE = new URL('../../../src/index.js', import.meta.url).href;

/** A module that a load needed. */
export interface LoadedFile {
  /** Which load. */
  readonly load: string;
  readonly path: string;
  /** Of what was read; `undefined` when there was nothing. */
  readonly hash: string | undefined;
}

/** The part of Node's resolve and load context that matters. */
interface Context {
  readonly parentURL?: string | undefined;
  readonly format?: string | null | undefined;
}

/** The address of a file for one load. */
export function markedUrl(url: string, load: string): string {
  const marked = new URL(url);
  marked.searchParams.set(LOAD_PARAMETER, load);
  return marked.href;
}

/** Which load this module belongs to; `undefined` for one that is no part of a device file. */
export function loadOf(url: string | undefined): string | undefined {
  if (url === undefined || !url.includes(LOAD_PARAMETER)) return undefined;
  return new URL(url).searchParams.get(LOAD_PARAMETER) ?? undefined;
}

/** What an import in a device file means, when that is not for Node to find. */
export function ownAnswer(specifier: string, context: Context): string | undefined {
  if (loadOf(context.parentURL) === undefined) return undefined;
  // Always this package's own, wherever the file is: a device must throw the errors that the process knows.
  if (specifier === 'virtio-misc') return OWN_ENTRY;
  // TypeScript's way of naming a neighbour: `./wire.js` for wire.ts.
  const named = neighbour(specifier, context);
  if (named?.href === OWN_SOURCE) return OWN_ENTRY;
  if (named === undefined || !/\.m?js$/.test(named.pathname) || existsSync(named)) return undefined;
  named.pathname = named.pathname.replace(/js$/, 'ts');
  return existsSync(named) ? markResolved(named.href, context) : undefined;
}

/** The address to load a module from that Node has found. */
export function markResolved(url: string, context: Context): string {
  const load = loadOf(context.parentURL);
  if (load === undefined || !url.startsWith('file:') || url.includes('/node_modules/')) return url;
  return markedUrl(url, load);
}

/** What Node could not find, so that it is looked for again when it comes. */
export function missingFile(specifier: string, context: Context): LoadedFile | undefined {
  const load = loadOf(context.parentURL);
  const named = load === undefined ? undefined : neighbour(specifier, context);
  return named && { load: load!, path: fileURLToPath(named), hash: undefined };
}

/** The source of a module, without types; `undefined` when it is Node's to load. */
export function sourceOf(
  url: string,
  context: Context,
  loaded: (file: LoadedFile) => void,
): string | undefined {
  const load = loadOf(url);
  if (load === undefined) return undefined;
  const path = fileURLToPath(url);
  const source = readFileSync(path);
  loaded({ load, path, hash: hashOf(source) });
  const text = source.toString('utf8');
  if (/\.m?ts$/.test(path)) return stripTypes(text, path);
  if (!/\.m?js$/.test(path) || context.format === 'commonjs') return undefined;
  return text;
}

export function hashOf(source: Uint8Array): string {
  return createHash('sha256').update(source).digest('base64');
}

/** The place of a syntax error among the JavaScript files of a load, which Node does not tell. */
export function findSyntaxError(files: Iterable<string>): string | undefined {
  for (const path of files) {
    if (!/\.m?js$/.test(path)) continue;
    const found = locateSyntaxError(readFileSync(path, 'utf8'), path);
    if (found !== undefined) return found;
  }
  return undefined;
}

function neighbour(specifier: string, { parentURL }: Context): URL | undefined {
  if (!/^(\.{0,2}\/|file:)/.test(specifier)) return undefined;
  const url = new URL(specifier, parentURL);
  url.search = '';
  return url;
}
