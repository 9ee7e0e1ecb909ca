import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { stripTypes } from './strip-types.js';

// What the hooks of `register.ts` answer, for TypeScript files of the program's own: packages are built.

/** The TypeScript file that an import of a `.js` neighbour which is not there means. */
export function typeScriptNeighbour(specifier: string, parentURL: string | undefined): string | undefined {
  if (parentURL?.startsWith('file:') !== true || !/^\.{1,2}\/.*\.m?js$/.test(specifier)) return undefined;
  const named = new URL(specifier, parentURL);
  if (existsSync(named)) return undefined;
  named.pathname = named.pathname.replace(/js$/, 'ts');
  return existsSync(named) ? named.href : undefined;
}

/** The source of a TypeScript file, without its types. */
export function typeScriptSource(url: string): string | undefined {
  if (!/^file:.*\.m?ts$/.test(url) || url.includes('/node_modules/')) return undefined;
  const path = fileURLToPath(url);
  return stripTypes(readFileSync(path, 'utf8'), path);
}
