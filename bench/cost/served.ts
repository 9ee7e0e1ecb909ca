/* virtio-test on each of the sockets named, in one process. */
import { virtioTest } from '../../src/devices/test/device.js';
import { serve } from '../../src/serve.js';

for (const vhostUser of process.argv.slice(2)) {
  await serve(virtioTest(), {
    vhostUser,
    print: false,
    warn: (line) => void process.stderr.write(`${line}\n`),
  });
}
