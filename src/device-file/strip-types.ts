import { createRequire } from 'node:module';

// The engine of Node's own type stripping, which Node 20 has not. Taken with every Node, so that a file means the same and
// errors say their place everywhere. Loaded when first needed: it takes a while.
const engine = (): typeof import('@swc/wasm-typescript') =>
  createRequire(import.meta.url)('@swc/wasm-typescript');

/**
 * Replaces types by blanks, so that every line and column stays where it is.
 *
 * @throws SyntaxError with `path:line:column` in its message, also for TypeScript that is more than types (enums, namespaces).
 */
export function stripTypes(source: string, path: string): string {
  try {
    return engine().transformSync(source, { mode: 'strip-only', filename: path }).code;
  } catch (error) {
    throw new SyntaxError(describe(error, path));
  }
}

/** `path:line:column: what is wrong`, or `undefined` when nothing is. */
export function locateSyntaxError(source: string, path: string): string | undefined {
  try {
    engine().transformSync(source, { mode: 'strip-only', filename: path });
    return undefined;
  } catch (error) {
    return describe(error, path);
  }
}

function describe(error: unknown, path: string): string {
  const { message, startLine, startColumn } = error as {
    message?: string;
    startLine?: number;
    startColumn?: number;
  };
  const place = startLine === undefined ? path : `${path}:${startLine}:${(startColumn ?? 0) + 1}`;
  return `${place}: ${message ?? String(error)}`;
}
