import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { prefixCommand } from '../../src/vm/prefix.js';
import { virtioMisc } from '../virtio-misc.js';
import { foreign } from './debian.js';

const run = promisify(execFile);

/** Wireshark without its window, and the dissector that `virtio-misc wireshark` prints. @param folder - of the test's own. */
export async function tshark(
  folder: string,
  devices: readonly string[] = [],
): Promise<(...args: string[]) => Promise<string[]>> {
  const prefix = await foreign({ name: 'tshark', packages: ['tshark'], version: 1 });
  // It runs no script for root: in a user namespace it is another.
  const other = process.getuid?.() === 0 ? ['unshare', '--map-user=1000', '--map-group=1000'] : [];
  const command = [...other, ...prefixCommand(prefix, 'usr/bin/tshark')];
  const [program, ...before] = command as [string, ...string[]];
  const script = join(folder, 'virtio.lua');
  const { lines, code } = await virtioMisc('wireshark', ...devices);
  if (code !== 0) throw new Error(`virtio-misc wireshark ended with ${code}`);
  writeFileSync(script, lines.join('\n'));
  return async (...args) => {
    const { stdout, stderr } = await run(program, [...before, '-X', `lua_script:${script}`, ...args], {
      // Neither the user's own configuration nor what Debian would have installed.
      env: { ...process.env, HOME: folder, WIRESHARK_DATA_DIR: join(prefix, 'usr/share/wireshark') },
      maxBuffer: 64 << 20,
    });
    if (/lua|error/i.test(stderr)) throw new Error(stderr);
    return stdout.split('\n').filter((line) => line !== '');
  };
}
