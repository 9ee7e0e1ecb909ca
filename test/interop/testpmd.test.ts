import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { type Hub, net } from '../../examples/net.js';
import { type DeviceHost, serve } from '../../src/index.js';
import { LIBRARIES, prefixCommand } from '../../src/vm/prefix.js';
import { foreign } from './debian.js';

// A front-end that nobody here wrote: DPDK's virtio-user ports, which poll their rings, of 256.

const folder = mkdtempSync(path.join(tmpdir(), 'virtio-misc-test-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** Of what testpmd is linked with and its virtio-user driver needs. */
const NEEDED =
  /^(dpdk-dev|librte-(?!meta-)[\w-]+|ibverbs-providers|lib(c6|gcc-s1|md0|zstd1|cap2|systemd0|nl-3-200|nl-route-3-200|bsd0|elf1t64|ibverbs1|fdt1|jansson4|numa1|dbus-1-3|pcap0\.8t64|atomic1|bpf1|xdp1|ssl3t64|isal2|ipsec-mb2)|zlib1g)=/;

/** Frames that go through before the test is content, and that testpmd sends at a time. */
const ENOUGH = 5000;
const BURST = 32;

/** A port that only counts what is sent on the hub. */
function counter(count: number, done: () => void): DeviceHost {
  let left = count;
  const pop = (): undefined => {
    left -= 1;
    if (left === 0) done();
  };
  return { queues: [{ pop }] } as unknown as DeviceHost;
}

/** What its rings are, as its ports and our devices are told. A size that is no power of two is what packed rings alone can have. */
const RINGS = [
  ['with its defaults', '', {}],
  ['in order', ',in_order=1', { inOrder: true }],
  ['with packed rings of 250', ',packed_vq=1,queue_size=250', { packed: true }],
  [
    'with packed rings of 250, in order',
    ',packed_vq=1,in_order=1,queue_size=250',
    { packed: true, inOrder: true },
  ],
] as const;

for (const [name, told, features] of RINGS) {
  test(`two ports of DPDK testpmd, ${name}, pass frames to each other through the net example, and lose none`, async () => {
    const prefix = await foreign({ name: 'dpdk', packages: ['dpdk-dev'], needed: NEEDED, version: 1 });
    const warnings: string[] = [];
    const hub: Hub = new Set();
    const enough = new Promise<void>((resolve) => void hub.add(counter(ENOUGH, resolve)));
    const make = net(hub);
    const sockets = [0, 1].map((port) => path.join(folder, `port${port}.sock`));
    const servers = await Promise.all(
      sockets.map((vhostUser) => serve(make, { vhostUser, features, warn: (line) => warnings.push(line) })),
    );
    const [loader, ...args] = prefixCommand(prefix, 'usr/bin/dpdk-testpmd') as [string, ...string[]];
    // testpmd looks for drivers where Debian would have installed them; the loader brings the two that are used.
    const drivers = ['librte_net_virtio.so.25', 'librte_mempool_ring.so.25'].map((name) =>
      path.join(prefix, LIBRARIES, name),
    );
    const ports = sockets.map((socket, port) => `--vdev=net_virtio_user${port},path=${socket}${told}`);
    const testpmd = spawn(
      loader,
      [
        ...['--preload', drivers.join(' '), ...args],
        // Neither root nor huge pages, which a test can't ask for, and so not much memory.
        ...[
          '--no-huge',
          '--no-pci',
          '--no-telemetry',
          '-m',
          '128',
          ...ports,
          '--',
          '-i',
          '--total-num-mbufs=8192',
        ],
      ],
      { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, RUNTIME_DIRECTORY: folder } },
    );
    let said = '';
    for (const stream of [testpmd.stdout, testpmd.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        said += text;
      });
    }
    const closed = once(testpmd, 'close');
    try {
      // It reads its input when it is ready, and what it says comes with its end.
      testpmd.stdin.on('error', () => {});
      testpmd.stdin.write('start tx_first\n');
      await Promise.race([enough, closed]);
      testpmd.stdin.write('stop\nquit\n');
      await closed;
      const stats =
        /Accumulated forward statistics[\s\S]*?RX-packets: (\d+)\s+RX-dropped: 0[\s\S]*?TX-packets: (\d+)\s+TX-dropped: 0/;
      const [, received, sent] = stats.exec(said) ?? assert.fail(said);
      assert.ok(Number(received) >= ENOUGH - 2 * BURST, said);
      // What each port began with is under way.
      assert.ok(Number(sent) - Number(received) <= 2 * BURST, said);
      assert.match(said, /Bye\.\.\./);
      assert.deepEqual(warnings, []);
    } finally {
      testpmd.kill('SIGKILL');
      for (const server of servers) server.close();
    }
  });
}
