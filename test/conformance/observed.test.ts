import { runSuite } from './suite.js';
import { vfioUserPairing } from './vfio-user-pairing.js';
import { vhostUserPairing } from './vhost-user-pairing.js';

// Who looks on changes nothing.
runSuite(vhostUserPairing(false, true));
runSuite(vfioUserPairing('vfio-user, observed', { shareMemory: true, observed: true }), 4);
runSuite(
  vfioUserPairing('vfio-user, memory by messages, observed', { shareMemory: false, observed: true }),
  4,
);
