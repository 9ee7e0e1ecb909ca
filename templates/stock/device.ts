import { randomBytes } from 'node:crypto';
import { defineDevice, parameter, withOptions } from 'virtio-misc';

/** Bytes handed out at a time. A driver may post a buffer of 4 GiB; one that is not filled is as good (VIRTIO 1.3 §5.4.6). */
const MOST = 4096;

/** What makes a my-source that hands out these bytes. */
export const source = (bytes: (size: number) => Uint8Array) =>
  defineDevice({
    // virtio-rng (VIRTIO 1.3 §5.4), for which Linux has the driver.
    id: 4,
    name: 'my-source',
    queues: [
      {
        name: 'requestq',
        handle(chain, { print }) {
          const size = Math.min(chain.writable, MOST);
          chain.write(bytes(size));
          print(() => `my-source: ${size} bytes`);
        },
      },
    ],
  });

/** The option is set by `--set byte=7`. */
export default withOptions(
  { byte: parameter.number('hand out this byte alone; -1 for random ones', -1, { least: -1, most: 255 }) },
  ({ byte }) => source((size) => (byte < 0 ? randomBytes(size) : new Uint8Array(size).fill(byte))),
);
