import { endStreams, FLUSH } from './standard-streams.js';

/**
 * Those that would end the process with no chance to clean up. The ones that the processor sends (SIGSEGV, SIGBUS ...) are not among
 * them: no JavaScript runs after those.
 */
const FATAL: readonly NodeJS.Signals[] = [
  'SIGHUP',
  'SIGQUIT',
  'SIGABRT',
  'SIGALRM',
  'SIGUSR2',
  'SIGTRAP',
  'SIGSYS',
  'SIGXCPU',
  'SIGVTALRM',
  'SIGPWR',
  'SIGSTKFLT',
  'SIGIO',
];

/** Resolves with the first signal that stops the program. A second one ends the process at once. */
export function stopSignal(spared: readonly NodeJS.Signals[] = []): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    const signals = (['SIGINT', 'SIGTERM', ...FATAL] as const).filter((signal) => !spared.includes(signal));
    const stop = (signal: NodeJS.Signals): void => {
      for (const other of signals) process.off(other, stop);
      resolve(signal);
    };
    for (const signal of signals) process.on(signal, stop);
  });
}

/** Whether a signal asks for no more than an orderly end. */
export function isOrderly(signal: NodeJS.Signals): boolean {
  return !FATAL.includes(signal);
}

/** Ends the process as a signal would have that was caught to clean up first. */
export async function dieOf(signal: NodeJS.Signals): Promise<never> {
  await endStreams(FLUSH);
  process.kill(process.pid, signal);
  // Until it arrives.
  return new Promise(() => setInterval(() => {}, 1000));
}
