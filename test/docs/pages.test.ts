import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { virtioMisc } from '../virtio-misc.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const PAGES = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.md'], {
  cwd: ROOT,
  encoding: 'utf8',
})
  .trim()
  .split('\n');

/** The text of a page without its code. */
function prose(page: string): string {
  return readFileSync(page, 'utf8')
    .replace(/^```[\s\S]*?^```$/gm, '')
    .replace(/`[^`\n]*`/g, (code) => code.replace(/[[\]()]/g, ''));
}

/** What GitHub calls the headings of a page in links. */
function anchors(page: string): string[] {
  const headings = prose(page).matchAll(/^#+ (.*)$/gm);
  return [...headings].map(([, heading]) =>
    heading!
      .toLowerCase()
      .replace(/[^\w\- ]/g, '')
      .replaceAll(' ', '-'),
  );
}

for (const page of PAGES) {
  test(`${page} links to what is there`, () => {
    const file = join(ROOT, page);
    for (const [, link] of prose(file).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(link!)) continue;
      const [path, anchor] = link!.split('#') as [string, string?];
      const target = path === '' ? file : resolve(dirname(file), path);
      assert.ok(existsSync(target), `${link} is not there`);
      if (anchor !== undefined) assert.ok(anchors(target).includes(anchor), `${link}: no such heading`);
    }
  });
}

for (const [device, transport, page] of [
  ['misc', 'vfio-user', 'qemu'],
  ['test', 'vhost-user', 'qemu'],
  ['misc', 'vfio-user', 'libvirt'],
  ['test', 'vhost-user', 'libvirt'],
] as const) {
  test(`the ${page} page has the arguments that qemu-args prints for ${device} over ${transport}`, async () => {
    const folder = page === 'qemu' ? '/tmp' : '/run/virtio-misc';
    const printed = await virtioMisc('qemu-args', device, `--${transport}`, `${folder}/${device}.sock`);
    // The page is for a QEMU that can be told; here may be none.
    const lines = printed.lines.map((line) =>
      line.replace(/(vfio-user-pci.*"\})\}/, '$1,"x-msg-timeout":60000}'),
    );
    const text = readFileSync(join(ROOT, `docs/neighbours/${page}.md`), 'utf8');
    const values = lines[0]!.split(' -').filter((arg) => /^(chardev|device) /.test(arg));
    assert.notEqual(values.length, 0);
    for (const value of values.map((arg) => arg.replace(/^\w+ /, '').replaceAll("'", ''))) {
      assert.ok(text.includes(value), `${page}.md has no ${value}`);
    }
  });
}

test('the qemu page has the line that qemu-args prints for a microvm', async () => {
  const text = readFileSync(join(ROOT, 'docs/neighbours/qemu.md'), 'utf8');
  const { lines } = await virtioMisc(
    ...['qemu-args', 'test', '--machine', 'microvm', '--vhost-user', '/tmp/test.sock'],
  );
  assert.ok(text.includes(`\n${lines[0]}\n`), lines[0]);
});
