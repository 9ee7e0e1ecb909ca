import { randomBytes } from 'node:crypto';
import { defineDevice, type VirtioDevice } from 'virtio-misc';

/** Bytes handed out at a time. A driver may post a buffer of 4 GiB; one that is not filled is as good (VIRTIO 1.3 §5.4.6). */
const MOST = 4096;

/**
 * virtio-rng, the entropy device (VIRTIO 1.3 §5.4). Linux's driver for it feeds /dev/hwrng.
 *
 * @param random - where the bytes come from.
 */
export function rng(random: (size: number) => Uint8Array = randomBytes): () => VirtioDevice {
  return defineDevice({
    id: 4,
    name: 'virtio-rng',
    queues: [
      {
        name: 'requestq',
        handle: (chain) => void chain.write(random(Math.min(chain.writable, MOST))),
      },
    ],
  });
}

const device: () => VirtioDevice = rng();
export default device;
