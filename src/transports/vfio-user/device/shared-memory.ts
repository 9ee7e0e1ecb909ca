import type { SharedMemoryOs } from '../../../virtio/local-shared-memory.js';
import type { Keep } from '../../keep.js';
import type { Os } from '../../ports.js';
import { SHARED } from './records.js';

/** An operating system whose shared memory outlives this process: a client may have mapped it. */
export function keptMemory(os: Os, keep: Keep): SharedMemoryOs {
  return {
    createMemory(name, size) {
      const left = keep.kept.find(({ key }) => key === SHARED);
      if (left !== undefined) {
        const [fd, toMap] = left.fds as [number, number];
        return { fd, mapping: os.map(toMap, 0, size) };
      }
      const made = os.createMemory(name, size);
      // One to map, and one to hand on.
      keep.settle(0, { put: [{ key: SHARED, bytes: new Uint8Array(), fds: [made.fd, made.fd] }] });
      return made;
    },
    map: (...range) => os.map(...range),
    closeFd: (fd) => os.closeFd(fd),
  };
}
