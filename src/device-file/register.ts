// `node --import virtio-misc/register`: Node, 20 too, runs TypeScript files as `virtio-misc serve` does. For unit tests of a device.

import * as module from 'node:module';
import { typeScriptNeighbour, typeScriptSource } from './typescript-source.js';

/** The part of `module.registerHooks` that is used here; Node 20 has none. */
interface SyncHooks {
  resolve(
    specifier: string,
    context: { parentURL?: string },
    next: (specifier: string, context: object) => object,
  ): object;
  load(url: string, context: object, next: (url: string, context: object) => object): object;
}

const { registerHooks } = module as unknown as { registerHooks?: (hooks: SyncHooks) => void };

if (registerHooks === undefined) module.register('./register-thread.js', import.meta.url);
else {
  registerHooks({
    resolve(specifier, context, next) {
      const url = typeScriptNeighbour(specifier, context.parentURL);
      return url === undefined ? next(specifier, context) : { url, shortCircuit: true };
    },
    load(url, context, next) {
      const source = typeScriptSource(url);
      return source === undefined ? next(url, context) : { format: 'module', source, shortCircuit: true };
    },
  });
}
