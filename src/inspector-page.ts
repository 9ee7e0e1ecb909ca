import { InspectorServer } from './inspector/http/inspector-server.js';
import { Live } from './inspector/live.js';
import type { Server } from './serve.js';
import { checkOptions, type OptionRule } from './virtio/check-options.js';

/** Where the inspector's page is served. */
export interface InspectorOptions {
  /** 0, and so unless told: any that is free. */
  readonly port?: number;
  /** An address or a name of this machine: `127.0.0.1` unless told. Whoever reaches another one, and has the printed address, can hold the devices. */
  readonly host?: string;
  /** What the page calls what is served. */
  readonly title?: string;
}

/** A page that shows what is served. */
export interface Inspector {
  /** What to open in a browser. It lets one in, once. */
  readonly url: string;
  /** Shows the connections of this server that come from now on. */
  add(server: Pick<Server, 'observe'>): void;
  /** Nothing is held any more, and pages hear that it ends. */
  close(): void;
}

const OPTIONS: Readonly<Record<keyof InspectorOptions, OptionRule>> = {
  port: (value) =>
    Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 65_535
      ? undefined
      : 'a port from 0 to 65535',
  host: (value) => (typeof value === 'string' && value !== '' ? undefined : 'an address'),
  title: (value) => (typeof value === 'string' ? undefined : 'a text'),
};

/**
 * Serves the inspector's page: connections with their devices, rings as they lie in memory, a timeline of requests, plots; and it can hold queues. It
 * is told of little, however much happens, and while no page is open of nearly nothing.
 *
 * @throws TypeError for options that can't be meant; what `listen` of `node:net` throws when the port can't be had.
 */
export async function openInspector(options: InspectorOptions = {}): Promise<Inspector> {
  checkOptions(options, 'openInspector', OPTIONS);
  const { port = 0, host = '127.0.0.1', title = 'virtio-misc' } = options;
  const began = performance.now();
  const now = (): number => Math.round((performance.now() - began) * 1e6);
  const live = new Live(title, now, performance.timeOrigin + began);
  const server = await InspectorServer.listen({ title, host, port, live });
  // It is there for what is served.
  server.unref();
  const leaves: (() => void)[] = [];
  return {
    get url() {
      return server.url;
    },
    add(served) {
      leaves.push(served.observe(live.listener()));
    },
    close() {
      server.close();
      for (const leave of leaves.splice(0)) leave();
    },
  };
}
