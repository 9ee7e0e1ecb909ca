import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const PAGE = readFileSync(join(ROOT, 'docs/writing-devices.md'), 'utf8');
const CODE = [...PAGE.matchAll(/^```(\w+) ?(.*)\n([\s\S]*?)^```$/gm)].map(([, language, file, code]) => ({
  language: language!,
  file: file!,
  code: code!,
}));

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(ROOT, join(folder, 'node_modules/virtio-misc'));
  symlinkSync(join(ROOT, 'node_modules/@types'), join(folder, 'node_modules/@types'));
  for (const { language, file, code } of CODE) if (language === 'ts') writeFileSync(join(folder, file), code);
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** Runs Node in the folder of the reader, to its good end. */
function run(...args: string[]): string {
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    cwd: folder,
    encoding: 'utf8',
    env,
    timeout: 120_000,
  });
  assert.equal(status, 0, stdout + stderr);
  return stdout;
}

test('the code of the page is right in its types', () => {
  const settings = {
    compilerOptions: {
      module: 'nodenext',
      target: 'es2023',
      lib: ['es2023', 'esnext.disposable'],
      strict: true,
      noUncheckedIndexedAccess: true,
      skipLibCheck: true,
      noEmit: true,
      types: ['node'],
    },
    include: ['*.ts'],
  };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(settings));
  run(join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', '.');
});

for (const [index, { language, file }] of CODE.entries()) {
  if (language !== 'ts') continue;
  test(`${file} does what the page says`, () => {
    const tests = file.endsWith('.test.ts') ? ['--test'] : [];
    // Node 20 and 22 do not know the syntax of `await using`, which TypeScript makes older code of.
    if (readFileSync(join(folder, file), 'utf8').includes('await using')) {
      run(join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', '.', '--noEmit', 'false', '--outDir', 'built');
      const said = run(join('built', file.replace(/ts$/, 'js')))
        .trimEnd()
        .split('\n');
      assert.deepEqual(said, CODE[index + 1]!.code.trimEnd().split('\n'));
      return;
    }
    const stdout = run('--import', 'virtio-misc/register', ...tests, file);
    if (tests.length > 0) assert.match(stdout, /# pass 3\n/);
  });
}
