import { runSuite } from './suite.js';
import { vhostUserPairing } from './vhost-user-pairing.js';

runSuite(vhostUserPairing(false));
// Nothing but what takes an IOMMU.
runSuite(vhostUserPairing(false, false, { granule: 4096 }), 0);
