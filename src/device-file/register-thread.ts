import type { LoadHook, ResolveHook } from 'node:module';
import { typeScriptNeighbour, typeScriptSource } from './typescript-source.js';

// The hooks of `register.ts` as Node 20 has them: asynchronous, in a thread of their own.

export const resolve: ResolveHook = async (specifier, context, next) => {
  const url = typeScriptNeighbour(specifier, context.parentURL);
  return url === undefined ? next(specifier, context) : { url, shortCircuit: true };
};

export const load: LoadHook = async (url, context, next) => {
  const source = typeScriptSource(url);
  return source === undefined ? next(url, context) : { format: 'module', source, shortCircuit: true };
};
