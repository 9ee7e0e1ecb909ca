import { processPairing } from './process-pairing.js';
import { runSuite } from './suite.js';

runSuite(processPairing('vhost-user'), 4);
