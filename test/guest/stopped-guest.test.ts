import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { blk } from '../../examples/blk.js';
import { serve } from '../../src/index.js';
import '../accel.js';
import { boot, KERNEL_COMPLAINT } from './guest.js';
import { Qmp } from './qmp.js';

const SIZE = 1 << 20;

/** Goes on when the host says so on the disk. */
const SCRIPT = `
  reads() { dd if=/dev/vda of=/dev/null bs=4k count=16 iflag=direct 2>/dev/null; }
  reads && echo used
  until dd if=/dev/vda bs=512 count=1 iflag=direct 2>/dev/null | grep -q on; do sleep 0.1; done
  reads && echo gone on
  rmmod virtio_blk && modprobe virtio_blk && reads && echo begun anew
`;

test('a guest that QEMU stops and has go on has the same disk, though QEMU says a device status of 0; a driver that is loaded anew has one that was reset', {
  timeout: 240_000,
}, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  const at = (name: string): string => join(folder, name);
  const file = at('disk.img');
  writeFileSync(file, Buffer.alloc(SIZE));
  /** What became of the device; and the status, as QEMU says it. */
  const lived: string[] = [];
  const warnings: string[] = [];
  const server = await serve(blk({ file }), {
    vhostUser: at('disk.sock'),
    warn: (line) => warnings.push(line),
    monitor: () => ({
      lived: (what) => lived.push(what),
      status: (status) => lived.push(`status ${status}`),
    }),
  });
  const stop = new AbortController();
  const signal = AbortSignal.any([stop.signal, t.signal]);
  const lines: string[] = [];
  let said = '';
  try {
    const args = [
      ...['-chardev', `socket,id=disk,path=${at('disk.sock')}`],
      ...['-device', 'vhost-user-blk-pci,chardev=disk'],
      ...Qmp.args(at('qmp')),
    ];
    const guest = boot(args, SCRIPT, {
      signal,
      onConsole: (line) => lines.push(line),
      onSaid: (text) => {
        said += text;
      },
    });
    guest.catch(() => stop.abort());
    while (!lines.includes('used')) await sleep(20, undefined, { signal });
    const qmp = await Qmp.connect(at('qmp'), signal);
    for (let i = 0; i < 2; i++) {
      lived.length = 0;
      await qmp.ask('stop');
      await qmp.ask('cont');
      assert.deepEqual(
        lived.filter((what) => !/^status [^0]/.test(what)),
        ['paused', 'status 0', 'running'],
      );
    }
    lived.length = 0;
    const disk = openSync(file, 'r+');
    writeSync(disk, 'on', 0);
    closeSync(disk);
    const { exitCode } = await guest;
    assert.equal(exitCode, 0, lines.join('\n'));
    assert.ok(lines.includes('gone on') && lines.includes('begun anew'), lines.join('\n'));
    const [reset, running] = [lived.indexOf('reset'), lived.indexOf('running')];
    assert.ok(reset >= 0 && reset < running, lived.join());
    assert.deepEqual(
      lines.filter((line) => KERNEL_COMPLAINT.test(line) || /I\/O error/.test(line)),
      [],
    );
    assert.deepEqual(warnings, []);
    assert.equal(said, '');
  } finally {
    stop.abort();
    server.close();
    rmSync(folder, { recursive: true, force: true });
  }
});
