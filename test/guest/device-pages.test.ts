import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import '../accel.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(ROOT, join(folder, 'node_modules/virtio-misc'));
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** Runs a program in the folder of the reader, to its good end. */
function run(program: string, ...args: string[]): string[] {
  const { status, stdout, stderr } = spawnSync(program, args, {
    cwd: folder,
    encoding: 'utf8',
    env: { ...process.env, NODE: process.execPath },
    timeout: 300_000,
  });
  assert.equal(status, 0, stdout + stderr);
  return stdout.split('\n');
}

/** Whether a line is as the page has it. What a request waited for in a slow guest is taken off of what the timer is set for. */
function says(line: string, page: string): boolean {
  const [, timer, asked] = /^(.* timer \d+ set for )([\d.]+) ms$/.exec(page) ?? [];
  if (timer === undefined) return line.includes(page);
  const [, left] = /^([\d.]+) ms$/.exec(line.startsWith(timer) ? line.slice(timer.length) : '') ?? [];
  return Number(left) > Number(asked) / 2 && Number(left) <= Number(asked);
}

for (const page of ['virtio-misc', 'virtio-test']) {
  test(`all code on the page of ${page} does what it says`, async (t) => {
    const text = readFileSync(join(ROOT, `docs/devices/${page}.md`), 'utf8');
    let said: string[] = [];
    let count = 0;
    for (const [, language, file, code] of text.matchAll(/^```(\w+) ?(.*)\n([\s\S]*?)^```$/gm)) {
      count += 1;
      await t.test(`${count}: ${language} ${file}`, () => {
        if (language === 'c') {
          writeFileSync(join(folder, file!), code!);
        } else if (language === 'sh') {
          // npx would look for the program in the folder's package.
          const main = `"$NODE" "${join(ROOT, 'dist/src/cli/main.js')}"`;
          said = run('sh', '-ec', code!.replaceAll('npx virtio-misc', main));
        } else if (language === 'ts') {
          const program = `example-${count}.ts`;
          writeFileSync(join(folder, program), code!);
          said = run(process.execPath, '--import', 'virtio-misc/register', program);
        } else {
          assert.equal(language, 'text');
          // In this order, with other lines between them.
          let at = 0;
          for (const line of code!.trimEnd().split('\n')) {
            const found = said.findIndex((other, index) => index >= at && says(other, line));
            assert.ok(found >= 0, `no '${line}' in:\n${said.join('\n')}`);
            at = found + 1;
          }
        }
      });
    }
    assert.ok(count >= 6);
  });
}
