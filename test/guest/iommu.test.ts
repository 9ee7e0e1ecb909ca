import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { blk } from '../../examples/blk.js';
import { rng } from '../../examples/rng.js';
import { virtioTest } from '../../src/devices/test/device.js';
import { type InspectEvent, serve, type VirtioDevice } from '../../src/index.js';
import { VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_RING_PACKED } from '../../src/virtio/features.js';
import { boot, KERNEL_COMPLAINT } from './guest.js';

/* QEMU's own IOMMU, which a guest's Linux drives: rings and buffers are at addresses that QEMU translates when it is asked over vhost-user. */

const MIB = 1024 * 1024;
/** The guest has no memory from there on. */
const MEMORY = 256 * MIB;

const SCRIPT = `
  set -e
  ls /sys/class/iommu
  yes translated | head -c ${MIB} | dd of=/dev/vda bs=64k iflag=fullblock oflag=direct 2>/dev/null
  dd if=/dev/vda bs=64k count=16 iflag=direct 2>/dev/null | sed 1q
  head -c 4096 /dev/hwrng | wc -c
  echo Y > /sys/module/virtio_test/parameters/quiet
  virtio-stress 8 1000
`;

/** What of a device was seen to pass. */
interface Seen {
  features: bigint;
  buffers: number;
  /** The least address of a buffer. */
  least: number;
}

/** One that could be a legacy device, which knows no IOMMU, has to be told. */
const MODERN = 'disable-legacy=on';

for (const packed of [false, true]) {
  test(`6.1: three devices behind QEMU's intel-iommu, over ${packed ? 'packed' : 'split'} rings: what they are given is translated, and right`, async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'virtio-misc-test-'));
    const file = path.join(folder, 'disk.img');
    writeFileSync(file, Buffer.alloc(4 * MIB));
    const properties = `iommu_platform=on,ats=on${packed ? ',packed=on' : ''}`;
    const devices: readonly [name: string, make: () => VirtioDevice, qemu: readonly string[]][] = [
      ['blk', blk({ file }), ['-device', `vhost-user-blk-pci,chardev=blk,${properties},${MODERN}`]],
      ['rng', rng(), ['-device', `vhost-user-rng-pci,chardev=rng,${properties}`]],
      [
        'test',
        virtioTest(),
        [
          '-device',
          `vhost-user-test-device-pci,chardev=test,virtio-id=45,num_vqs=1,vq_size=128,config_size=12,${properties}`,
        ],
      ],
    ];
    const warnings: string[] = [];
    const at = (name: string): string => path.join(folder, `${name}.sock`);
    const seen = devices.map((): Seen => ({ features: 0n, buffers: 0, least: Number.POSITIVE_INFINITY }));
    const servers = await Promise.all(
      devices.map(([name, make]) =>
        serve(make, {
          vhostUser: at(name),
          features: { accessPlatform: true, packed },
          print: () => {},
          warn: (line) => warnings.push(`${name}: ${line}`),
        }),
      ),
    );
    for (const [i, server] of servers.entries()) {
      const one = seen[i]!;
      const hear = (event: InspectEvent): void => {
        if (event.type === 'features') one.features = event.accepted;
        if (event.type !== 'taken') return;
        for (const { address } of event.descriptors) {
          one.buffers += 1;
          one.least = Math.min(one.least, address);
        }
      };
      server.observe({ hear, bytes: 0 });
    }
    try {
      const args = devices.flatMap(([name, , qemu]) => [
        '-chardev',
        `socket,id=${name},path=${at(name)}`,
        ...qemu,
      ]);
      const iommu = ['-device', 'intel-iommu,device-iotlb=on,intremap=off'];
      const { exitCode, console } = await boot([...iommu, ...args], SCRIPT);
      const all = console.join('\n');
      assert.equal(exitCode, 0, all);
      assert.match(all, /^dmar0$/m);
      assert.match(all, /^translated$/m);
      assert.match(all, /^4096$/m);
      assert.match(all, /^1000 answered, 0 wrong, 0 failed/m);
      const disk = readFileSync(file, 'latin1').slice(0, MIB);
      assert.equal(disk, 'translated\n'.repeat(MIB).slice(0, MIB));
      for (const [i, [name]] of devices.entries()) {
        const { features, buffers, least } = seen[i]!;
        assert.notEqual(features & VIRTIO_F_ACCESS_PLATFORM, 0n, name);
        assert.equal((features & VIRTIO_F_RING_PACKED) !== 0n, packed, name);
        assert.ok(buffers > 0, name);
        // Linux gives devices addresses below 4 GiB from above, where this guest has no memory: not one was used as it is.
        assert.ok(least >= MEMORY, `${name}: 0x${least.toString(16)}`);
      }
      // When it powers off, the guest's kernel turns its IOMMU off without a word to the drivers: then nothing is there any more.
      assert.deepEqual(
        warnings.filter((line) => !/ is broken until reset: 0x[0-9a-f]+ is not translated /.test(line)),
        [],
      );
      assert.deepEqual(
        console.filter((line) => KERNEL_COMPLAINT.test(line)),
        [],
      );
    } finally {
      for (const server of servers) server.close();
      rmSync(folder, { recursive: true, force: true });
    }
  });
}
