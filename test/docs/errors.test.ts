import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import * as api from '../../src/index.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/** The files whose declarations make up the package, by what its entry point exports from. */
const DECLARED = [...readFileSync(`${ROOT}src/index.ts`, 'utf8').matchAll(/from '\.\/(.*)\.js'/g)].map(
  ([, path]) => `src/${path}.ts`,
);

for (const file of [
  'README.md',
  'ARCHITECTURE.md',
  'docs/devices/virtio-misc.md',
  'docs/devices/virtio-test.md',
  ...DECLARED,
]) {
  test(`the errors that ${file} names can be imported under these names`, () => {
    const text = readFileSync(`${ROOT}${file}`, 'utf8');
    const named = file.endsWith('.md')
      ? text.matchAll(/`([A-Z]\w*Error)\b/g)
      : [...text.matchAll(/@throws ([^@]*?)(?=\n\s*\*\/|\n\s*\*\s*@|\*\/)/g)].flatMap(([, throws]) => [
          ...throws!.matchAll(/\b([A-Z]\w*Error)\b/g),
        ]);
    for (const [, name] of named) {
      assert.ok(name! in api || name! in globalThis, `${name} is not exported`);
    }
  });
}
