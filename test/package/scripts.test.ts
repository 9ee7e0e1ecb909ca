import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

interface Locked {
  readonly hasInstallScript?: boolean;
}

function json<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`../../../${name}`, import.meta.url), 'utf8')) as T;
}

test('no package that is installed runs a script of its own, whatever its version', () => {
  const { packages } = json<{ packages: Readonly<Record<string, Locked>> }>('package-lock.json');
  const { allowScripts } = json<{ allowScripts: Readonly<Record<string, boolean>> }>('package.json');
  const scripted = Object.entries(packages)
    .filter(([path, { hasInstallScript }]) => path !== '' && hasInstallScript)
    .map(([path]) => path.replace(/^.*node_modules\//, ''));
  assert.deepEqual(allowScripts, Object.fromEntries(scripted.map((name) => [name, false])));
});
