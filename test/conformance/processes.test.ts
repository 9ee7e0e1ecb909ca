import { processPairing } from './process-pairing.js';
import { runSuite } from './suite.js';

runSuite(processPairing('vhost-user'));
runSuite(processPairing('vfio-user'));
runSuite(processPairing('vfio-user', { shareMemory: false }));
