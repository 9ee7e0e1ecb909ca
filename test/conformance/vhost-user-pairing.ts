import { LinuxOs } from '../../src/linux/linux-os.js';
import type { Session } from '../../src/transports/session.js';
import { offeredOver, VHOST_USER_FEATURES } from '../../src/transports/transport-features.js';
import { serveVhostUser } from '../../src/transports/vhost-user/device/backend.js';
import { VhostUserFrontend } from '../../src/transports/vhost-user/driver/frontend.js';
import { Lines } from './lines.js';
import type { Pairing } from './pairing.js';

/**
 * Back end and front end in this process, with a real socket between, and real eventfds and shared memory.
 *
 * @param inband - with messages instead of eventfds.
 */
export const vhostUserPairing = (inband: boolean): Pairing => ({
  name: inband ? 'vhost-user, in-band' : 'vhost-user',
  more: {},
  async attach(make, _command, features = {}) {
    const os = new LinuxOs();
    const lines = new Lines();
    const warnings: string[] = [];
    const sessions: Session[] = [];
    const environment = {
      os,
      clock: os.clock,
      defer: setImmediate,
      print: lines.add,
      inband,
      warn: (line: string) => void warnings.push(line),
      ringFeatures: offeredOver(VHOST_USER_FEATURES, features),
    };
    return {
      lines: lines.all,
      printed: lines.printed,
      warnings,
      async connect() {
        const { channel, fd } = os.createChannel();
        sessions.push(serveVhostUser(os.adoptChannel(fd), make(), environment, () => {}));
        return new VhostUserFrontend(channel, environment, { inband });
      },
      async close() {
        for (const session of sessions) session.close();
        os.close();
      },
    };
  },
});
