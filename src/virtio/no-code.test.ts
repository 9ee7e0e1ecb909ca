import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

for (const file of [
  'struct.test.js',
  'layout.test.js',
  'answers.test.js',
  'define-device.test.js',
  'traced-queue.test.js',
]) {
  test(`${file} passes where no code may be made of text`, () => {
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    const path = fileURLToPath(new URL(file, import.meta.url));
    const child = spawnSync(process.execPath, ['--disallow-code-generation-from-strings', path], {
      encoding: 'utf8',
      env,
    });
    assert.equal(child.status, 0, child.stdout + child.stderr);
    assert.match(child.stdout, /pass [1-9]/);
  });
}
