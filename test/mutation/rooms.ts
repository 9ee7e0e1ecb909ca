/** Which tests are to catch a fault, as globs over `dist/`; without coverage each of them is run for each fault. */
export type Room = { tests: string[]; coverage: 'perTest' | 'off' };

/** The pure rooms, the transports and what is under them are held by each other's tests as well. */
const inner: Room = {
  tests: [
    'dist/src/{lines,memory,virtqueue,virtio,devices,transports,linux}/**/*.test.js',
    'dist/test/conformance/{loopback,vhost-user,vfio-user}.test.js',
  ],
  coverage: 'perTest',
};

/** The rooms of `src/` that faults are planted in. Coverage can't be seen in processes that tests start. */
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
  'device-file': { tests: ['dist/src/device-file/*.test.js'], coverage: 'off' },
  cli: { tests: ['dist/src/cli/*.test.js', 'dist/test/cli/*.test.js'], coverage: 'off' },
};
