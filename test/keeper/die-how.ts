/*
 * Imported before a worker's own code: has it abort, or throw where nobody catches it, when it is told to by a signal that it has no other use for. Who
 * throws is not let live by whatever listens for that.
 */

if (process.env.VIRTIO_MISC_DIE_HOW !== undefined && process.env.VIRTIO_MISC_KEEPER !== undefined) {
  process.on('SIGPWR', () => process.abort());
  process.on('SIGWINCH', () => {
    process.removeAllListeners('uncaughtException');
    setImmediate(() => {
      throw new Error('thrown for a test');
    });
  });
}

/** What kills a worker: from outside, from inside, or by what nobody catches. */
export const DEATHS: readonly NodeJS.Signals[] = ['SIGKILL', 'SIGPWR', 'SIGBUS', 'SIGWINCH'];

/** The environment of processes in which it is imported. */
export function dieHow(): Record<string, string> {
  return { NODE_OPTIONS: `--import ${import.meta.url}`, VIRTIO_MISC_DIE_HOW: '1' };
}
