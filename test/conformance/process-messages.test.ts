import { processPairing } from './process-pairing.js';
import { runSuite } from './suite.js';

runSuite(processPairing('vfio-user', { shareMemory: false }), 4);
