import { loopbackPairing } from './loopback-pairing.js';
import { runSuite } from './suite.js';

runSuite(loopbackPairing);
