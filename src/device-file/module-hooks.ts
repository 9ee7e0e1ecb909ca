import * as module from 'node:module';
import { MessageChannel, type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
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

const told: Told[] = [];
let thread: MessagePort | undefined;
let installed = false;

/** Has this process load device files, from the first call on. */
export function installModuleHooks(): void {
  if (installed) return;
  installed = true;
  const { registerHooks } = module as unknown as { registerHooks?: (hooks: SyncHooks) => void };
  if (registerHooks === undefined) installInThread();
  else registerHooks(syncHooks((what) => what && told.push(what)));
}

/** What loads of device files did since the last call, in order. */
export function takeTold(): Told[] {
  for (let next = receive(); next !== undefined; next = receive()) told.push(next.message);
  return told.splice(0);
}

/** Has a load that begins after this call take that code; `undefined` when it is over. */
export function loadFrom(load: string, code: DeviceCode | undefined): void {
  if (thread === undefined) giveCode(load, code);
  else thread.postMessage({ load, code });
}

function receive(): { message: Told } | undefined {
  return thread && receiveMessageOnPort(thread);
}

function syncHooks(tell: (what: Told | undefined) => void): SyncHooks {
  return {
    resolve(specifier, context, next) {
      const own = ownResolution(specifier, context, tell);
      if (own !== undefined) return own;
      try {
        const found = next(specifier, context);
        const url = markResolved(found.url, context);
        tell(foundModule(specifier, context, url));
        return { ...found, url };
      } catch (error) {
        tell(missingFile(specifier, context));
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
