import { LinuxOs } from '../../src/linux/linux-os.js';
import type { Session } from '../../src/transports/session.js';
import { offeredOver, PCI_FEATURES } from '../../src/transports/transport-features.js';
import { vfioUser } from '../../src/transports/vfio-user/device/server.js';
import { openVfioUser } from '../../src/transports/vfio-user/driver/client.js';
import { Lines } from './lines.js';
import { Observation } from './observation.js';
import type { Pairing } from './pairing.js';

/** How the two ends are put together. */
export interface VfioUserPairing {
  /** Whether the device maps the driver's memory, or reaches it by messages. */
  readonly shareMemory: boolean;
  /** MSI-X vectors that the device has; one for each queue and one more unless told. */
  readonly vectors?: number;
  /** Whether all that passes is recorded. */
  readonly observed?: boolean;
}

/** Server and client in this process, with a real socket between, and real eventfds and shared memory. */
export function vfioUserPairing(name: string, { shareMemory, vectors, observed }: VfioUserPairing): Pairing {
  return {
    name,
    more: {
      notificationData: true,
      notifConfigData: true,
      suspend: true,
      accessPlatform: true,
      orderPlatform: true,
    },
    async attach(make, _command, features = {}) {
      const os = new LinuxOs();
      const lines = new Lines();
      const warnings: string[] = [];
      const sessions: Session[] = [];
      const observation = observed === true ? new Observation(os.clock) : undefined;
      const start = vfioUser(vectors === undefined ? {} : { vectors });
      return {
        lines: lines.all,
        printed: lines.printed,
        warnings,
        async connect() {
          const { channel: client, fd } = os.createChannel();
          const server = os.adoptChannel(fd);
          const device = make();
          const environment = {
            monitor: observation?.monitor(device),
            os,
            clock: os.clock,
            defer: setImmediate,
            print: lines.add,
            warn: (line: string) => void warnings.push(line),
            ringFeatures: offeredOver(PCI_FEATURES, features),
          };
          sessions.push(start(server, device, environment, () => {}));
          return openVfioUser(client, environment, { shareMemory });
        },
        async close() {
          for (const session of sessions) session.close();
          observation?.check();
          os.close();
        },
      };
    },
  };
}
