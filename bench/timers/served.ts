/* virtio-misc and an echo for two front-ends of one process: `served.js MISC_SOCKET ECHO_SOCKET MAX_TIMERS`. */
import { virtioMisc } from '../../src/devices/misc/device.js';
import { serve } from '../../src/serve.js';
import byHand from '../echo/by-hand.js';

const [misc, echo, maxTimers] = process.argv.slice(2) as [string, string, string];
const quiet = { print: false, warn: (line: string) => void process.stderr.write(`${line}\n`) } as const;
await serve(virtioMisc({ maxTimers: Number(maxTimers) }), { vhostUser: misc, ...quiet });
await serve(byHand, { vhostUser: echo, ...quiet });
