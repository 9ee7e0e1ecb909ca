import { runSuite } from './suite.js';
import { vhostUserPairing } from './vhost-user-pairing.js';

runSuite(vhostUserPairing(true));
