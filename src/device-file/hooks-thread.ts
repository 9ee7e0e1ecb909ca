import type { InitializeHook, LoadHook, ResolveHook } from 'node:module';
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import type { DeviceCode } from './device-code.js';
import {
  foundModule,
  giveCode,
  markResolved,
  missingFile,
  ownResolution,
  sourceOf,
  type Told,
} from './module-source.js';

// The hooks of `module-hooks.ts` as Node 20 has them: asynchronous, in a thread of their own.

let port: MessagePort | undefined;

const tell = (what: Told | undefined): void => {
  if (what !== undefined) port?.postMessage(what);
};

/** Takes the code that loads are to have: what was sent before one began is here. */
function takeCode(): void {
  for (let next = port && receiveMessageOnPort(port); next; next = receiveMessageOnPort(port!)) {
    const { load, code } = next.message as { load: string; code: DeviceCode | undefined };
    giveCode(load, code);
  }
}

export const initialize: InitializeHook<{ port: MessagePort }> = (data) => {
  port = data.port;
};

export const resolve: ResolveHook = async (specifier, context, next) => {
  takeCode();
  const own = ownResolution(specifier, context, tell);
  if (own !== undefined) return own;
  try {
    const found = await next(specifier, context);
    const url = markResolved(found.url, context);
    tell(foundModule(specifier, context, url));
    return { ...found, url };
  } catch (error) {
    tell(missingFile(specifier, context));
    throw error;
  }
};

export const load: LoadHook = async (url, context, next) => {
  const source = sourceOf(url, context, tell);
  return source === undefined ? next(url, context) : { format: 'module', source, shortCircuit: true };
};
