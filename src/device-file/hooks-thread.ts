import type { InitializeHook, LoadHook, ResolveHook } from 'node:module';
import type { MessagePort } from 'node:worker_threads';
import { type LoadedFile, markResolved, missingFile, ownAnswer, sourceOf } from './module-source.js';

// The hooks of `module-hooks.ts` as Node 20 has them: asynchronous, in a thread of their own.

let tell: (file: LoadedFile) => void = () => {};

export const initialize: InitializeHook<{ port: MessagePort }> = ({ port }) => {
  tell = (file) => port.postMessage(file);
};

export const resolve: ResolveHook = async (specifier, context, next) => {
  const own = ownAnswer(specifier, context);
  if (own !== undefined) return { url: own, shortCircuit: true };
  try {
    const found = await next(specifier, context);
    return { ...found, url: markResolved(found.url, context) };
  } catch (error) {
    const missing = missingFile(specifier, context);
    if (missing !== undefined) tell(missing);
    throw error;
  }
};

export const load: LoadHook = async (url, context, next) => {
  const source = sourceOf(url, context, tell);
  return source === undefined ? next(url, context) : { format: 'module', source, shortCircuit: true };
};
