import * as module from 'node:module';
import { MessageChannel, type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { type LoadedFile, markResolved, missingFile, ownAnswer, sourceOf } from './module-source.js';

/** The part of `module.registerHooks` that is used here; Node 20 has none. */
interface SyncHooks {
  resolve(
    specifier: string,
    context: { parentURL?: string },
    next: (specifier: string, context: object) => { url: string; format?: string },
  ): object;
  load(
    url: string,
    context: { format?: string },
    next: (url: string, context: object) => { source?: unknown },
  ): object;
}

const loaded: LoadedFile[] = [];
let thread: MessagePort | undefined;
let installed = false;

/** Has this process load device files, from the first call on. */
export function installModuleHooks(): void {
  if (installed) return;
  installed = true;
  const { registerHooks } = module as unknown as { registerHooks?: (hooks: SyncHooks) => void };
  if (registerHooks === undefined) installInThread();
  else registerHooks(syncHooks((file) => loaded.push(file)));
}

/** The files that were read for device files since the last call, in order. */
export function takeLoadedFiles(): LoadedFile[] {
  for (let told = receive(); told !== undefined; told = receive()) loaded.push(told.message);
  return loaded.splice(0);
}

function receive(): { message: LoadedFile } | undefined {
  return thread && receiveMessageOnPort(thread);
}

function syncHooks(tell: (file: LoadedFile) => void): SyncHooks {
  return {
    resolve(specifier, context, next) {
      const own = ownAnswer(specifier, context);
      if (own !== undefined) return { url: own, shortCircuit: true };
      try {
        const found = next(specifier, context);
        return { ...found, url: markResolved(found.url, context) };
      } catch (error) {
        const missing = missingFile(specifier, context);
        if (missing !== undefined) tell(missing);
        throw error;
      }
    },
    load(url, context, next) {
      const source = sourceOf(url, context, tell);
      return source === undefined ? next(url, context) : { format: 'module', source, shortCircuit: true };
    },
  };
}

/** Node 20 runs hooks in a thread of their own, `hooks-thread.ts`. */
function installInThread(): void {
  const { port1, port2 } = new MessageChannel();
  thread = port1;
  module.register('./hooks-thread.js', import.meta.url, { data: { port: port2 }, transferList: [port2] });
}
