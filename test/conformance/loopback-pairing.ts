import { Loopback } from '../../src/transports/loopback/loopback.js';
import { LOOPBACK_FEATURES, offeredOver } from '../../src/transports/transport-features.js';
import { EventLoopClock } from '../../src/virtio/event-loop-clock.js';
import { Lines } from './lines.js';
import type { Pairing } from './pairing.js';

/** Driver and device in this process, with nothing between. */
export const loopbackPairing: Pairing = {
  name: 'loopback',
  more: { accessPlatform: true, orderPlatform: true },
  async attach(make, _command, features = {}) {
    const lines = new Lines();
    const warnings: string[] = [];
    const clock = new EventLoopClock();
    const open: Loopback[] = [];
    return {
      lines: lines.all,
      printed: lines.printed,
      warnings,
      async connect() {
        const environment = {
          clock,
          defer: setImmediate,
          print: lines.add,
          warn: (line: string) => void warnings.push(line),
          ringFeatures: offeredOver(LOOPBACK_FEATURES, features),
        };
        const loopback = new Loopback(make(), environment);
        open.push(loopback);
        return loopback;
      },
      async close() {
        for (const loopback of open) loopback.close();
      },
    };
  },
};
