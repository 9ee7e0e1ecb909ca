import { runSuite } from './suite.js';
import { vfioUserPairing } from './vfio-user-pairing.js';

runSuite(vfioUserPairing('vfio-user', { shareMemory: true }));
// Of the combinations those that differ most: the rest is the same as above.
runSuite(vfioUserPairing('vfio-user, one vector for all queues', { shareMemory: true, vectors: 2 }), 4);
runSuite(vfioUserPairing('vfio-user, INTx', { shareMemory: true, vectors: 0 }), 4);
runSuite(vfioUserPairing('vfio-user, memory by messages', { shareMemory: false }), 8);
