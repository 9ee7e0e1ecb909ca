/**
 * Which tests are to catch a fault, as globs over `dist/`. Where it is seen which of them comes by a fault, those are run for it; else all,
 * as what they start in other processes and threads can't be seen.
 */
export type Room = { tests: string[]; coverage: 'seen' | 'unseen' };

/** The pure rooms, the transports and what is under them are held by each other's tests as well. */
const inner: Room = {
  tests: [
    'dist/src/{lines,memory,virtqueue,virtio,devices,transports,linux}/**/*.test.js',
    'dist/test/conformance/{loopback,vhost-user,vfio-user}.test.js',
  ],
  coverage: 'seen',
};

/** The rooms of `src/` that faults are planted in. */
export const ROOMS: Record<string, Room> = {
  lines: inner,
  memory: inner,
  virtqueue: inner,
  virtio: inner,
  devices: inner,
  'transports/loopback': inner,
  'transports/pci': inner,
  'transports/vhost-user': inner,
  'transports/vfio-user': inner,
  linux: inner,
  'device-file': { tests: ['dist/src/device-file/*.test.js'], coverage: 'unseen' },
  cli: { tests: ['dist/src/cli/*.test.js', 'dist/test/cli/*.test.js'], coverage: 'unseen' },
};
