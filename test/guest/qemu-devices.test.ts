import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { blk } from '../../examples/blk.js';
import { keyboard } from '../../examples/input.js';
import { type Hub, net } from '../../examples/net.js';
import { rng } from '../../examples/rng.js';
import { type InspectEvent, serve, type VirtioDevice } from '../../src/index.js';
import { VIRTIO_F_RING_PACKED } from '../../src/virtio/features.js';
import { Station } from '../examples/station.js';
import { boot, KERNEL_COMPLAINT } from './guest.js';

const MIB = 1024 * 1024;

const SCRIPT = `
  set -e
  echo cpus $(grep -c ^processor /proc/cpuinfo), queues $(ls /sys/block/vda/mq | wc -l)
  for cpu in 0 1; do
    taskset $((1 << cpu)) sh -c "yes from $cpu | head -c ${MIB} | dd of=/dev/vda bs=64k seek=$((cpu * 16)) oflag=direct" 2>/dev/null &
  done
  wait
  sync
  head -c 32 /dev/hwrng | wc -c
  for folder in /sys/class/input/event*; do cat $folder/device/name; done
  ip address add 10.0.0.2/24 dev eth0
  ip link set eth0 up
  ping -c 3 -w 60 10.0.0.1
`;

for (const layout of ['split', 'packed'] as const) {
  const how = layout === 'split' ? 'with no option of ours' : 'over packed rings';
  test(`QEMU's own vhost-user devices take the examples ${how}, with two processors too`, async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'virtio-misc-test-'));
    const file = path.join(folder, 'disk.img');
    writeFileSync(file, Buffer.alloc(4 * MIB));
    const hub: Hub = new Set();
    const packed = layout === 'packed';
    const option = packed ? ',packed=on' : '';
    const devices: readonly [name: string, make: () => VirtioDevice, qemu: readonly string[]][] = [
      ['blk', blk({ file }), ['-device', `vhost-user-blk-pci,chardev=blk${option}`]],
      ['rng', rng(), ['-device', `vhost-user-rng-pci,chardev=rng${option}`]],
      [
        'input',
        keyboard({ sentence: 'x', every: 2 }),
        ['-device', `vhost-user-input-pci,chardev=input${option}`],
      ],
      [
        'net',
        net(hub),
        ['-netdev', 'vhost-user,id=n0,chardev=net', '-device', `virtio-net-pci,netdev=n0,romfile=${option}`],
      ],
    ];
    const warnings: string[] = [];
    const at = (name: string): string => path.join(folder, `${name}.sock`);
    const servers = await Promise.all(
      devices.map(([name, make]) =>
        serve(make, {
          vhostUser: at(name),
          ...(packed && { features: { packed } }),
          print: () => {},
          warn: (line) => warnings.push(`${name}: ${line}`),
        }),
      ),
    );
    /** Whether the driver took a packed ring, by device. */
    const accepted = new Map<string, boolean>();
    for (const [i, [name]] of devices.entries()) {
      const hear = (event: InspectEvent): void => {
        if (event.type === 'features') accepted.set(name, (event.accepted & VIRTIO_F_RING_PACKED) !== 0n);
      };
      servers[i]!.observe({ hear, bytes: 0 });
    }
    const station = await Station.join(hub, Uint8Array.of(10, 0, 0, 1));
    try {
      const args = devices.flatMap(([name, , qemu]) => [
        '-chardev',
        `socket,id=${name},path=${at(name)}`,
        ...qemu,
      ]);
      const { exitCode, console } = await boot(args, SCRIPT, { cpus: 2 });
      const all = console.join('\n');
      assert.equal(exitCode, 0, all);
      assert.match(all, /^cpus 2, queues 2$/m);
      assert.match(all, /^32$/m);
      assert.match(all, /^virtio-misc keyboard$/m);
      assert.match(all, /^3 packets transmitted, 3 packets received/m);
      const disk = readFileSync(file, 'latin1');
      for (const cpu of [0, 1])
        assert.equal(
          disk.slice(cpu * MIB, (cpu + 1) * MIB).replaceAll(`from ${cpu}\n`, '').length,
          MIB % 7,
          `${cpu}`,
        );
      assert.deepEqual(Object.fromEntries(accepted), {
        blk: packed,
        rng: packed,
        input: packed,
        net: packed,
      });
      assert.deepEqual(warnings, []);
      assert.deepEqual(
        console.filter((line) => KERNEL_COMPLAINT.test(line)),
        [],
      );
    } finally {
      await station.close();
      for (const server of servers) server.close();
      rmSync(folder, { recursive: true, force: true });
    }
  });
}
