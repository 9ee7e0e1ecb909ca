import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Hub, net } from '../../../examples/net.js';
import { Station } from '../../examples/station.js';
import { KERNEL_COMPLAINT, runGuest } from '../guest.js';

const SCRIPT = `
  set -e
  echo carrier $(cat /sys/class/net/eth0/address)
  ip address add 10.0.0.2/24 dev eth0
  ip link set eth0 up
  ping -c 5 -s 1400 -w 60 10.0.0.1
  ping -c 200 -i 0.02 -q -w 120 10.0.0.1
  cat /sys/class/net/eth0/statistics/rx_errors /sys/class/net/eth0/statistics/rx_dropped
`;

for (const transport of ['vhost-user', 'vfio-user'] as const) {
  test(`5.1: Linux pings a host on the hub of the net example, over ${transport}`, async () => {
    const hub: Hub = new Set();
    const station = await Station.join(hub, Uint8Array.of(10, 0, 0, 1));
    try {
      const { exitCode, console, warnings } = await runGuest(net(hub), transport, SCRIPT);
      const all = console.join('\n');
      assert.equal(exitCode, 0, all);
      assert.match(all, /^carrier 02(:[0-9a-f]{2}){5}$/m);
      assert.match(all, /^5 packets transmitted, 5 packets received/m);
      assert.match(all, /^200 packets transmitted, 200 packets received/m);
      assert.ok(station.pings >= 205);
      assert.deepEqual(warnings, []);
      assert.deepEqual(
        console.filter((line) => KERNEL_COMPLAINT.test(line)),
        [],
      );
    } finally {
      await station.close();
    }
  });
}
