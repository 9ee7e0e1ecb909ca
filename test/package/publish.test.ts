import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
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
  npm(folder, 'install', '--ignore-scripts', join(folder, filename));
});

after(() => rmSync(folder, { recursive: true, force: true }));

test('the tarball has what users need and no file of development', () => {
  for (const needed of [
    'dist/src/index.js',
    'dist/src/index.d.ts',
    'dist/src/cli/main.js',
    'guest/linux/Kbuild',
    'templates/starter/device.ts',
    'templates/stream/device.ts',
    'templates/stock/device.ts',
    'dist/man/virtio-misc.1',
    'dist/inspector-page/index.html',
    'dist/inspector-page/assets/page.js',
    'dist/inspector-page/assets/page.css',
    'dist/inspector-page/assets/LICENSES.txt',
    'README.md',
    'LICENSE',
    'CHANGELOG.md',
    'docs/first-device.md',
    'examples/rng.ts',
    'src/index.ts',
  ]) {
    assert.ok(files.includes(needed), `${needed} is missing`);
  }
  const odd = files.filter((file) =>
    /^(?!templates).*\.test\.|tsbuildinfo|(transports|linux|record)\/.*testing|src\/inspector\/page|^(test|bench|scripts|dist\/(test|bench|examples|scripts))\/|node_modules|docs\/site|^biome|^tsconfig/.test(
      file,
    ),
  );
  assert.deepEqual(odd, []);
});

test('what is bundled for the browser comes with its licence, and fetches nothing', () => {
  const assets = join(folder, 'node_modules/virtio-misc/dist/inspector-page/assets');
  const licences = readFileSync(join(assets, 'LICENSES.txt'), 'utf8');
  for (const name of ['preact', '@preact/signals', '@preact/signals-core', 'uplot'])
    assert.match(licences, new RegExp(`^${name} \\d[\\s\\S]*?MIT License`, 'm'), name);
  for (const name of ['@fontsource/ibm-plex-mono', '@fontsource-variable/ibm-plex-sans'])
    assert.match(licences, new RegExp(`^${name} \\d[\\s\\S]*?SIL OPEN FONT LICENSE`, 'm'), name);
  for (const file of ['../index.html', 'page.js', 'page.css']) {
    const elsewhere = readFileSync(join(assets, file), 'utf8').match(/(?:https?:)?\/\/[\w.-]+\.\w+/g) ?? [];
    assert.deepEqual(
      elsewhere.filter((address) => !address.includes('www.w3.org')),
      [],
      `${file} names what is elsewhere`,
    );
  }
});

test('every page in the tarball links to what is in it', () => {
  for (const page of files.filter((file) => file.endsWith('.md'))) {
    const text = readFileSync(join(ROOT, page), 'utf8').replace(/^```[\s\S]*?^```$/gm, '');
    for (const [, link] of text.matchAll(/\]\(([^)\s#]+)[^)]*\)/g)) {
      if (/^https?:/.test(link!)) continue;
      assert.ok(files.includes(join(dirname(page), link!)), `${page}: ${link} is not in the tarball`);
    }
  }
});

test('a device of its own is made from the tarball, before the package is published', () => {
  // A test runner that finds itself in another one's test runs nothing.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const command = join(folder, 'node_modules/.bin/virtio-misc');
  execFileSync(command, ['init', 'egg-timer', '--dir', folder], { env });
  const made = join(folder, 'egg-timer');
  const { dependencies } = JSON.parse(readFileSync(join(made, 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>;
  };
  assert.match(dependencies['virtio-misc']!, /^file:\.\.\/virtio-misc-[\d.]+\.tgz$/);
  npm(made, 'install', '--ignore-scripts', '--no-audit');
  // Tests of one's own may be TypeScript, in a folder too.
  mkdirSync(join(made, 'more'));
  writeFileSync(
    join(made, 'more/a.test.ts'),
    "import { test } from 'node:test';\ntest('a' satisfies string, () => {});\n",
  );
  const said = execFileSync('npm', ['test'], { cwd: made, env, encoding: 'utf8' });
  assert.match(said, /^. pass 4\n. fail 0$/mu);
});

test('without a clone, the README’s commands make a device from a tarball, and run its test', () => {
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const empty = join(folder, 'empty');
  mkdirSync(empty);
  const tarball = readdirSync(folder).find((file) => file.endsWith('.tgz'))!;
  copyFileSync(join(folder, tarball), join(empty, tarball));
  const commands = examples('sh tarball')[0]!.trimEnd().split('\n');
  assert.match(commands.pop()!, /^npx virtio-misc vm --device/, 'guests have tests of their own');
  const options = {
    cwd: empty,
    env: { ...env, npm_config_ignore_scripts: 'true' },
    encoding: 'utf8',
  } as const;
  const said = execFileSync('sh', ['-ec', commands.join('\n')], { ...options, stdio: ['ignore', 'pipe', 2] });
  assert.match(said, /^. pass 3\n. fail 0$/mu);
});

test('the examples in the tarball are devices that load', () => {
  const place = join(folder, 'node_modules/virtio-misc/examples');
  for (const example of ['rng', 'console', 'input']) {
    const command = ['qemu-args', join(place, `${example}.ts`), '--vfio-user', '/tmp/example.sock'];
    const said = execFileSync(join(folder, 'node_modules/.bin/virtio-misc'), command, { encoding: 'utf8' });
    assert.match(said, /vfio-user-pci/);
  }
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

test('devices of many shapes are typed as their author means them, with the settings that init writes', () => {
  const source = `import { array, type Chain, control, type Device, defineDevice, le16, le32, parameter, struct, structQueue, tail, withOptions } from 'virtio-misc';
const Stat = struct({ tag: le16, value: le32 });
const Stats = struct({ first: Stat, four: array(Stat, 4), all: tail(Stat, 64) });
const { first, four, all } = Stats.decode(new Uint8Array(64));
export const sum: number = first.value + four[0]!.value + all[0]!.value + all.map(({ tag }) => tag).length;
// @ts-expect-error it has no such field
export const none = all[0]!.values;

const Config = struct({ pages: le32 });
const Pages = struct({ pfns: tail(le32, 8) });
const options = { n: parameter.size('pages'), fast: parameter.flag('at once') };
export default withOptions(options, ({ n, fast }) =>
  defineDevice(() => {
    let held: Chain | undefined;
    const hand = ({ queues }: Device<typeof Config, 'aq' | 'bq'>): void => {
      if (held !== undefined) queues.bq.push(held);
    };
    return {
      id: 5,
      name: 'x',
      features: { F: 1 },
      config: { struct: Config, initial: { pages: fast ? n : 0 }, writable: ['pages'] },
      queues: [
        structQueue({ name: 'aq', request: Pages, handle({ pfns }) { void pfns[0]; } }),
        { name: 'bq', posted(device) { held = device.queues.aq.pop(); hand(device); device.config.pages += 1; } },
      ],
      controls: { target: control('ask', { n: parameter.size('bytes') }, ({ n }, { config }) => { config.pages = n; }) },
      activate({ queues, config, has }) {
        if (has('F')) queues.aq.flush();
        const pages: number = config.pages;
        void pages;
        // @ts-expect-error there is no such queue
        queues.cq;
      },
      reset({ config }) { config.pages = 0; },
    };
  }),
);
export const smallest = withOptions({ n: parameter.size('x') }, ({ n }) => defineDevice(() => ({
  id: 5, name: 'x', config: { struct: Config, initial: { pages: n } },
  queues: [structQueue({ name: 'aq', request: Pages, handle({ pfns }) { void pfns; } }), { name: 'bq', posted(device) { device.queues.aq; } }] })));
`;
  const devices = join(folder, 'devices');
  mkdirSync(devices);
  writeFileSync(join(devices, 'device.ts'), source);
  const starter = JSON.parse(readFileSync(join(ROOT, 'templates/starter/tsconfig.json'), 'utf8')) as {
    compilerOptions: object;
  };
  for (const more of [{}, { exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true }]) {
    const compilerOptions = {
      ...starter.compilerOptions,
      typeRoots: [join(ROOT, 'node_modules/@types')],
      ...more,
    };
    writeFileSync(join(devices, 'tsconfig.json'), JSON.stringify({ ...starter, compilerOptions }));
    execFileSync(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', devices], {
      stdio: ['ignore', 2, 2],
    });
  }
});

test('the installed command runs', () => {
  const said = execFileSync(join(folder, 'node_modules/.bin/virtio-misc'), ['--help'], { encoding: 'utf8' });
  assert.match(said, /^Usage: virtio-misc/);
});
