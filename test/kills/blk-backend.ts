import { blk } from '../../examples/blk.js';
import { serve, type VirtioDevice } from '../../src/index.js';

/*
 * A disk that is killed: `node blk-backend.js SOCKET FILE [N]` kills itself when it was given requests for the Nth time, which are under way then.
 * It tells when it is ready, starts when it is told to, and tells when its front-end came.
 */

const [socket, file] = [process.argv[2]!, process.argv[3]!];
let left = Number(process.argv[4] ?? 0);

/** The same, but mortal. */
function mortal(disk: VirtioDevice): VirtioDevice {
  return new Proxy(disk, {
    get(target, key) {
      const value: unknown = Reflect.get(target, key, target);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]): unknown => {
        const result: unknown = value.apply(target, args);
        if (key === 'queueNotified' && --left === 0) process.kill(process.pid, 'SIGKILL');
        return result;
      };
    },
  });
}

const make = blk({ file });
process.once('message', () => {
  void serve(() => mortal(make()), {
    vhostUser: socket,
    print: false,
    features: { packed: true },
    warn: (line) => console.error(line),
    connected: () => void process.send!('connected'),
  });
});
process.once('disconnect', () => process.exit(0));
process.send!('ready');
