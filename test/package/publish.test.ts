import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
let folder: string;
let files: string[];

/** The code blocks of README.md in this language. */
function examples(language: string): string[] {
  const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');
  return [...readme.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, 'gm'))].map(
    (match) => match[1]!,
  );
}

function npm(where: string, ...args: string[]): string {
  return execFileSync('npm', args, { cwd: where, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  // Built already: `prepare` would build again, under the feet of the tests that run.
  const packed = npm(ROOT, 'pack', '--json', '--ignore-scripts', '--pack-destination', folder);
  const [{ filename, files: listed }] = JSON.parse(packed) as [
    { filename: string; files: { path: string }[] },
  ];
  files = listed.map(({ path }) => path);
  writeFileSync(join(folder, 'package.json'), '{"private": true, "type": "module"}');
  npm(folder, 'install', '--ignore-scripts', '--no-save', join(folder, filename));
});

after(() => rmSync(folder, { recursive: true, force: true }));

test('the tarball has what users need and no file of development', () => {
  for (const needed of [
    'dist/src/index.js',
    'dist/src/index.d.ts',
    'dist/src/cli/main.js',
    'guest/linux/Kbuild',
    'templates/starter/device.ts',
    'README.md',
    'LICENSE',
  ]) {
    assert.ok(files.includes(needed), `${needed} is missing`);
  }
  const odd = files.filter((file) =>
    /^(?!templates).*\.test\.|tsbuildinfo|(transports|linux)\/.*testing|^(src|test|bench|examples|dist\/(test|bench|examples))\/|biome|tsconfig/.test(
      file,
    ),
  );
  assert.deepEqual(odd, []);
});

test('a program in plain JavaScript runs the example of the README', () => {
  const [example] = examples('js');
  writeFileSync(join(folder, 'example.js'), example!);
  const said = execFileSync(process.execPath, ['example.js'], { cwd: folder, encoding: 'utf8' });
  assert.match(said, /half a second is over/);
});

test('types resolve under node16 and nodenext, for every TypeScript example of the README', () => {
  const sources = join(folder, 'sources');
  mkdirSync(sources);
  for (const [i, example] of [...examples('ts'), ...examples('js')].entries()) {
    writeFileSync(join(sources, `example-${i}.ts`), example);
  }
  for (const module of ['node16', 'nodenext']) {
    const config = {
      compilerOptions: {
        module,
        strict: true,
        noEmit: true,
        target: 'es2022',
        types: ['node'],
        typeRoots: [join(ROOT, 'node_modules/@types')],
      },
      include: [sources],
    };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config));
    execFileSync(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', folder], {
      stdio: ['ignore', 2, 2],
    });
  }
});

test('the installed command runs', () => {
  const said = execFileSync(join(folder, 'node_modules/.bin/virtio-misc'), ['--help'], { encoding: 'utf8' });
  assert.match(said, /^Usage: virtio-misc/);
});
