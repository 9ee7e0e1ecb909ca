import { runSuite } from './suite.js';
import { vfioUserPairing } from './vfio-user-pairing.js';

runSuite(vfioUserPairing('vfio-user', { shareMemory: true }));
runSuite(vfioUserPairing('vfio-user, one vector for all queues', { shareMemory: true, vectors: 2 }));
runSuite(vfioUserPairing('vfio-user, INTx', { shareMemory: true, vectors: 0 }));
runSuite(vfioUserPairing('vfio-user, memory by messages', { shareMemory: false }));
