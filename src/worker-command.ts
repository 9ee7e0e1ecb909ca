import { fileURLToPath } from 'node:url';
import { KEEPER_VARIABLE } from './keeper/frames.js';
import type { WorkerCommand } from './keeper/keeper/worker-process.js';
import type { RingFeatures } from './virtio/ring-features.js';

/** This package's own `serve`, as a worker that has its device, and logs for programs. Types are looked at by whoever starts it, once. */
export function workerCommand(device: string, args: readonly string[]): WorkerCommand {
  const main = fileURLToPath(new URL('./cli/main.js', import.meta.url));
  return {
    program: process.execPath,
    args: [main, 'serve', device, ...args, '--no-type-check', '--log', 'json'],
    variable: KEEPER_VARIABLE,
  };
}

/** What it is told of rings, as the command line has it. */
export function ringArgs({
  vectors,
  poll,
  features,
}: {
  readonly vectors?: number | undefined;
  readonly poll?: boolean | number | undefined;
  readonly features?: RingFeatures | undefined;
}): string[] {
  return [
    ...(vectors === undefined ? [] : ['--vectors', `${vectors}`]),
    ...(poll === undefined || poll === false
      ? []
      : [poll === true ? '--poll' : `--poll=${Math.ceil(poll)}ns`]),
    ...(features === undefined ? [] : ['--features', written(features)]),
  ];
}

/** As the command line has them. */
function written(features: RingFeatures): string {
  return Object.entries(features)
    .map(([name, on]) => {
      const word = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
      return on ? word : `no-${word}`;
    })
    .join();
}
