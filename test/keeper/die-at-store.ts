import { appendFileSync, existsSync, readFileSync, rmSync } from 'node:fs';

/*
 * Imported before a worker's own code: has it kill itself after so many stores to memory that it shares with the guest or the keeper. How many is in a
 * file, which is taken by the first worker that maps anything.
 */

const file = process.env.VIRTIO_MISC_DIE_AT_STORE;

if (file !== undefined && process.env.VIRTIO_MISC_KEEPER !== undefined) {
  // Not before, so that other processes load none of it.
  const { LinuxOs } = await import('../../src/linux/linux-os.js');
  const { WatchedView } = await import('../../src/virtqueue/testing/watched-view.js');
  let left: number | undefined;
  let begun = false;
  const begin = (): void => {
    begun = true;
    try {
      left = Number(readFileSync(file, 'utf8'));
      rmSync(file);
    } catch {
      left = undefined;
    }
  };
  const after = (kind: string): void => {
    if (kind === 'read' || kind === 'load') return;
    left! -= 1;
    if (left !== 0) return;
    appendFileSync(`${file}-died`, 'one\n');
    process.kill(process.pid, 'SIGKILL');
  };
  const { map, createMemory } = LinuxOs.prototype;
  const watched = (mapping: ReturnType<typeof map>): ReturnType<typeof map> => {
    if (!begun || existsSync(file)) begin();
    if (left === undefined) return mapping;
    const { size, file: identity } = mapping;
    const view = new WatchedView(mapping.view, { after });
    return { size, file: identity, view, release: () => mapping.release() };
  };
  LinuxOs.prototype.map = function (...args: Parameters<typeof map>) {
    return watched(map.apply(this, args));
  };
  LinuxOs.prototype.createMemory = function (...args: Parameters<typeof createMemory>) {
    const { fd, mapping } = createMemory.apply(this, args);
    return { fd, mapping: watched(mapping) };
  };
}

/** The environment of processes in which it is imported. */
export function dieAtStore(path: string): Record<string, string> {
  return { NODE_OPTIONS: `--import ${import.meta.url}`, VIRTIO_MISC_DIE_AT_STORE: path };
}
