import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defineDevice } from '../../src/virtio/define-device.js';
import { KERNEL_COMPLAINT, runGuest } from './guest.js';

/** Hands out what is in its shared memory, which is made when its driver is ready. */
const window = defineDevice({
  id: 4,
  name: 'virtio-rng',
  sharedMemory: [{ id: 0, size: 1 << 20 }],
  queues: [
    {
      name: 'requestq',
      handle: (chain, { sharedMemory }) => {
        const bytes = new Uint8Array(Math.min(chain.writable, 64));
        sharedMemory.get(0)!.read(0, bytes);
        chain.write(bytes);
      },
    },
  ],
  activate: ({ sharedMemory }) => sharedMemory.get(0)!.write(0, new TextEncoder().encode('MEMORY')),
});

for (const transport of ['vhost-user', 'vfio-user'] as const) {
  test(`2.10: a guest under stock QEMU finds shared memory behind a BAR, reads and writes it, over ${transport}`, async () => {
    const { exitCode, console, warnings } = await runGuest(
      window,
      transport,
      // The BAR of 64 bits that may be read ahead and has 1 MiB.
      `B=$(grep -hi '00000 0x.*fffff 0x0*14220c' /sys/bus/pci/devices/*/resource | cut -d' ' -f1)
echo first $(devmem $B 32) $(devmem $(printf 0x%x $((B + 4))) 16); devmem $B 32 0x12345678; echo then $(devmem $B 32)`,
      { load: ['virtio-rng'] },
    );
    const all = console.join('\n');
    assert.equal(exitCode, 0, all);
    assert.match(all, /^first 0x4F4D454D 0x5952$/m);
    assert.match(all, /^then 0x12345678$/m);
    assert.deepEqual(warnings, []);
    assert.deepEqual(
      console.filter((line) => KERNEL_COMPLAINT.test(line)),
      [],
    );
  });
}
