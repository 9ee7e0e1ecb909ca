import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { blk } from '../../examples/blk.js';
import { deviceArgs } from '../../src/cli/qemu-args.js';
import { serve } from '../../src/index.js';
import { progressTo } from '../../src/vm/progress.js';
import { findQemu } from '../../src/vm/qemu.js';
import { foreign } from '../interop/debian.js';

// A driver that nobody here wrote, and no Linux: EDK2's, in Debian's firmware. It goes by the modern PCI ids alone.

const SHARED = 'memory-backend-memfd,id=ram,size=256M,share=on';

test("4.1.2: OVMF finds the blk example by its PCI ids, and its shell's map shows BLK0", async () => {
  const progress = progressTo(process.stderr, { plain: true });
  const [qemu, ovmf] = await Promise.all([
    findQemu({ progress }),
    foreign({ name: 'ovmf', packages: ['ovmf'], version: 1 }),
  ]);
  const folder = mkdtempSync(path.join(tmpdir(), 'virtio-misc-test-'));
  const [file, socket, variables] = ['disk.img', 'disk.sock', 'vars.fd'].map((name) =>
    path.join(folder, name),
  );
  writeFileSync(file!, Buffer.alloc(1 << 20));
  copyFileSync(path.join(ovmf, 'usr/share/OVMF/OVMF_VARS_4M.fd'), variables!);
  const warnings: string[] = [];
  const make = blk({ file });
  const server = await serve(make, { vfioUser: socket!, warn: (line) => warnings.push(line) });
  const [program, ...args] = qemu.command as [string, ...string[]];
  const code = path.join(ovmf, 'usr/share/OVMF/OVMF_CODE_4M.fd');
  const guest = spawn(
    program,
    [
      ...args,
      ...['-nodefaults', '-no-user-config', '-display', 'none', '-run-with', 'exit-with-parent=on'],
      ...['-accel', 'tcg', '-machine', 'q35,memory-backend=ram', '-m', '256M', '-object', SHARED],
      ...['-drive', `if=pflash,format=raw,readonly=on,file=${code}`],
      ...['-drive', `if=pflash,format=raw,file=${variables}`, '-serial', 'stdio'],
      ...deviceArgs(make(), 'vfio-user', socket!, 'disk'),
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  try {
    let said = '';
    const ended = once(guest, 'close');
    guest.stdout.setEncoding('latin1').on('data', (text: string) => {
      said += text;
      // The first line after the map.
      if (/Mapping table[\s\S]*startup\.nsh/.test(said)) guest.kill();
    });
    await ended;
    // biome-ignore lint/suspicious/noControlCharactersInRegex: what steers a terminal is taken out.
    const text = said.replace(/\x1b\[[\d;=]*[A-Za-z]/g, '');
    assert.match(text, /Mapping table\s+BLK0: Alias\(s\):\s+PciRoot\(0x0\)\/Pci\(0x1,0x0\)/, text);
    assert.deepEqual(warnings, []);
  } finally {
    guest.kill('SIGKILL');
    server.close();
    rmSync(folder, { recursive: true, force: true });
  }
});
