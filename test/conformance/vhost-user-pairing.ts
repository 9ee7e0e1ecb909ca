import { LinuxOs } from '../../src/linux/linux-os.js';
import type { Session } from '../../src/transports/session.js';
import { offeredOver, VHOST_USER_FEATURES } from '../../src/transports/transport-features.js';
import { serveVhostUser } from '../../src/transports/vhost-user/device/backend.js';
import { type FrontendOptions, VhostUserFrontend } from '../../src/transports/vhost-user/driver/frontend.js';
import { Lines } from './lines.js';
import { Observation } from './observation.js';
import type { Pairing } from './pairing.js';

/**
 * Back end and front end in this process, with a real socket between, and real eventfds and shared memory.
 *
 * @param inband - with messages instead of eventfds.
 * @param observed - whether all that passes is recorded.
 */
export const vhostUserPairing = (
  inband: boolean,
  observed = false,
  options: FrontendOptions = {},
): Pairing => ({
  name: `vhost-user${inband ? ', in-band' : ''}${observed ? ', observed' : ''}${options.granule === undefined ? '' : ', translated by pages'}`,
  more: { accessPlatform: true, orderPlatform: true },
  async attach(make, _command, features = {}) {
    const os = new LinuxOs();
    const lines = new Lines();
    const warnings: string[] = [];
    const sessions: Session[] = [];
    const observation = observed ? new Observation(os.clock) : undefined;
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
        const device = make();
        const seen = { ...environment, monitor: observation?.monitor(device) };
        sessions.push(serveVhostUser(os.adoptChannel(fd), device, seen, () => {}));
        return new VhostUserFrontend(channel, environment, { ...options, inband });
      },
      async close() {
        for (const session of sessions) session.close();
        observation?.check();
        os.close();
      },
    };
  },
});
