import { blk } from '../../examples/blk.js';
import { serve } from '../../src/index.js';

/* A disk that is killed: `node blk-backend.js SOCKET FILE`. It tells when it is ready, starts when it is told to, and tells when its front-end came. */

const [socket, file] = [process.argv[2]!, process.argv[3]!];
process.once('message', () => {
  void serve(blk({ file }), {
    vhostUser: socket,
    print: false,
    warn: (line) => console.error(line),
    connected: () => void process.send!('connected'),
  });
});
process.once('disconnect', () => process.exit(0));
process.send!('ready');
