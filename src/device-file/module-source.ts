import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { DeviceCode } from './device-code.js';
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
  /** What Node was given, where it is not Node's to load. */
  readonly text?: string;
}

/** A module that one of a load's own imports, and that is the load's own, too. */
export interface FoundModule {
  readonly load: string;
  /** Its path. */
  readonly importer: string;
  readonly specifier: string;
  readonly path: string;
}

/** What a load did. */
export type Told = LoadedFile | FoundModule;

/** The code that loads are to take, where it is not what is on the disk. */
const given = new Map<string, DeviceCode>();

/** Has a load take this code; `undefined` for what is on the disk. */
export function giveCode(load: string, code: DeviceCode | undefined): void {
  if (code === undefined) given.delete(load);
  else given.set(load, code);
}

/** Where a module of code that was given is. */
function foundInCode(specifier: string, context: Context): string | undefined {
  const load = loadOf(context.parentURL);
  // The device's file itself is named by its address.
  if (load === undefined) {
    const main = given.get(loadOf(specifier) ?? '')?.main;
    return main !== undefined && main === fileURLToPath(specifier) ? specifier : undefined;
  }
  const path = given.get(load)?.modules.get(fileURLToPath(context.parentURL!))?.imports.get(specifier);
  return path && markedUrl(pathToFileURL(path).href, load);
}

/** What Node's hook is to answer without Node, which is told. */
export function ownResolution(
  specifier: string,
  context: Context,
  tell: (what: Told | undefined) => void,
): { url: string; shortCircuit: true } | undefined {
  const url = foundInCode(specifier, context) ?? ownAnswer(specifier, context);
  if (url === undefined) return undefined;
  tell(foundModule(specifier, context, url));
  return { url, shortCircuit: true };
}

/** What to tell of a module that was found at this address. */
export function foundModule(specifier: string, context: Context, url: string): FoundModule | undefined {
  const load = loadOf(context.parentURL);
  if (load === undefined || loadOf(url) !== load) return undefined;
  return { load, importer: fileURLToPath(context.parentURL!), specifier, path: fileURLToPath(url) };
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
function ownAnswer(specifier: string, context: Context): string | undefined {
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
  const known = given.get(load)?.modules.get(path);
  if (known !== undefined) {
    loaded({ load, path, hash: known.hash, text: known.text });
    return known.text;
  }
  const source = readFileSync(path);
  // Also of what can't be loaded: it is looked at again when it is saved.
  const file = { load, path, hash: hashOf(source) };
  loaded(file);
  const text = textOf(source, path, context);
  if (text !== undefined) loaded({ ...file, text });
  return text;
}

function textOf(source: Buffer, path: string, { format }: Context): string | undefined {
  const text = source.toString('utf8');
  if (/\.m?ts$/.test(path)) return stripTypes(text, path);
  return /\.m?js$/.test(path) && format !== 'commonjs' ? text : undefined;
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
