import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import module, { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { VirtqueueError } from '../virtqueue/virtqueue-error.js';
import { decodeCode, encodeCode } from './device-code.js';
import { DeviceFile } from './device-file.js';
import { DeviceFileError } from './device-file-error.js';
import { hashNow } from './file-watcher.js';

let folder: string;
beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'virtio-misc-test-')));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function write(name: string, text: string): string {
  const path = join(folder, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  return path;
}

const device = (name: string): string =>
  `export default defineDevice({ id: 63, name: ${name}, queues: [] });`;

describe('a device file', () => {
  for (const name of ['device.ts', 'device.mts']) {
    test(`${name}: TypeScript, with what it imports, outside of any project`, async () => {
      write('lib/words.ts', `export const word: string = 'from words';`);
      write('lib/other.ts', `export const other = 'from other' as const;`);
      write('lib/plain.mjs', `export const plain = 'from plain';`);
      const path = write(
        name,
        `import { defineDevice, type VirtioDevice } from 'virtio-misc';
         import { word } from './lib/words.ts';
         import { other } from './lib/other.js';
         import { plain } from './lib/plain.mjs';
         interface Unused { readonly device: VirtioDevice }
         ${device('[word, other, plain].join() satisfies string')}`,
      );
      const file = new DeviceFile(path);
      assert.equal((await file.load())().name, 'from words,from other,from plain');
      assert.deepEqual(
        [...file.files.keys()].sort(),
        [path, ...['other.ts', 'plain.mjs', 'words.ts'].map((leaf) => join(folder, 'lib', leaf))].sort(),
      );
    });
  }

  for (const name of ['device.js', 'device.mjs']) {
    test(`${name}: JavaScript`, async () => {
      const path = write(name, `import { defineDevice } from 'virtio-misc'; ${device("'plain'")}`);
      assert.equal((await new DeviceFile(path).load())().name, 'plain');
    });
  }

  test("'virtio-misc' is the running program's own, so that its errors are known", async () => {
    const path = write(
      'device.ts',
      `import { defineDevice, VirtqueueError } from 'virtio-misc';
       (globalThis as any).seen = VirtqueueError; ${device("'own'")}`,
    );
    await new DeviceFile(path).load();
    assert.equal((globalThis as { seen?: unknown }).seen, VirtqueueError);
  });

  test('is loaded anew each time, as are the files that it imports', async () => {
    const imports = `import { defineDevice } from 'virtio-misc'; import { n } from './n.ts';`;
    const path = write('device.ts', `${imports} ${device("'a' + n")}`);
    write('n.ts', 'export const n: number = 1;');
    const file = new DeviceFile(path);
    const first = await file.load();
    write('n.ts', 'export const n: number = 2;');
    const second = await file.load();
    write('device.ts', `${imports} ${device("'b' + n")}`);
    const third = await file.load();
    assert.deepEqual(
      [first, second, third].map((make) => make().name),
      ['a1', 'a2', 'b2'],
    );
  });
});

test('what a load took can be loaded again, in another process too, whatever is on the disk by then', async () => {
  write('lib/words.ts', `export const word: string = 'old words';`);
  write('lib/plain.js', `import { word } from './words.js'; export { word };`);
  write('package.json', '{ "type": "module" }');
  const path = write(
    'device.ts',
    `import { defineDevice } from 'virtio-misc';
     import { word } from './lib/plain.js';
     ${device('word as string')}`,
  );
  const file = new DeviceFile(path);
  await file.load();
  const code = decodeCode(encodeCode(file.code));
  assert.equal(code.modules.size, 3);
  write('lib/words.ts', `export const word: string = 'new words';`);
  rmSync(join(folder, 'lib/plain.js'));
  const other = new DeviceFile(code);
  assert.equal((await other.load(code))().name, 'old words');
  assert.equal(encodeCode(other.code).join(), encodeCode(file.code).join());
  await assert.rejects(other.load(), /plain\.js/);
  write('device.ts', '}');
  await assert.rejects(other.load(), DeviceFileError);
  rmSync(path);
  assert.equal((await other.load(code))().name, 'old words');
  write('device.ts', `import { defineDevice } from 'virtio-misc'; ${device("'new'")}`);
  assert.equal((await other.load())().name, 'new');
});

test('a load that fails has seen all that there is: nothing is tried again before it is saved', async () => {
  const words = write('words.ts', `export const word = 'old';`);
  const text = `import { defineDevice } from 'virtio-misc'; import { word } from './words.ts'; ${device('word')}`;
  const path = write('device.ts', text);
  const file = new DeviceFile(path);
  await file.load();
  write('words.ts', `export const word = 'new';`);
  write('device.ts', '}');
  await assert.rejects(file.load(), DeviceFileError);
  for (const one of [path, words]) assert.equal(file.files.get(one), hashNow(one), one);
});

test("Node's module hooks are installed once, however often files are loaded", async (t) => {
  const file = new DeviceFile(
    write('device.ts', `import { defineDevice } from 'virtio-misc'; ${device("'a'")}`),
  );
  await file.load();
  const hooks = module as unknown as { register: () => void; registerHooks?: () => void };
  const calls = [t.mock.method(hooks, 'register')];
  if (hooks.registerHooks !== undefined)
    calls.push(t.mock.method(hooks as Required<typeof hooks>, 'registerHooks'));
  syncBuiltinESMExports();
  t.after(() => {
    for (const call of calls) call.mock.restore();
    syncBuiltinESMExports();
  });
  await file.load();
  assert.deepEqual(
    calls.map((call) => call.mock.callCount()),
    calls.map(() => 0),
  );
});

describe('a file that is none is refused in one line', () => {
  const refused: readonly (readonly [what: string, name: string, text: string, says: RegExp])[] = [
    ['a syntax error', 'd.ts', 'let a: number = 1;\nlet b = = 2;', /^\/d\.ts:2:9: Expression expected$/],
    ['a syntax error', 'd.js', 'let a = 1;\nlet b = = 2;', /^\/d\.js:2:9: Expression expected$/],
    ['more than types', 'd.ts', '\nenum E { a }', /^\/d\.ts:2:1: TypeScript enum is not supported/],
    ['a name not exported', 'd.ts', "\nimport { no } from './ok.ts'; no;", /^\/d\.ts:2: .* named 'no'$/],
    [
      'a file that is not there',
      'd.ts',
      "import './gone.ts';",
      /^\/d\.ts: Cannot find module '.*\/gone\.ts'/,
    ],
    ['a package that is not there', 'd.ts', "import 'no-such-thing';", /^\/d\.ts: Cannot find package/],
    [
      'it throws',
      'd.ts',
      `${'\n'.repeat(11)}const a = {}, b = null!.x;`,
      /^\/d\.ts:12:25: Cannot read properties of null/,
    ],
    [
      'it throws and does not say where',
      'd.ts',
      "throw Object.assign(new Error('it'), { stack: 'Error: it' });",
      /^\/d\.ts: it$/,
    ],
    ['it throws no Error', 'd.ts', "throw 'it';", /^\/d\.ts: it threw it$/],
    ['no default export', 'd.ts', 'export const a = 1;', /^\/d\.ts has no default export: write/],
    ['a number', 'd.ts', 'export default 1;', /the default export is no device/],
    ['makes a number', 'd.ts', 'export default () => 1;', /the default export is no device/],
    [
      'looks like one',
      'd.ts',
      "export default () => ({ id: 1, name: '' });",
      /the default export is no device/,
    ],
    [
      'a definition that can not be',
      'd.ts',
      "import { defineDevice } from 'virtio-misc';\nexport default defineDevice({ id: 63, name: 'x', features: { A: 30 }, queues: [] });",
      /^\/d\.ts:2:16: feature A has bit 30/,
    ],
  ];
  for (const [what, name, text, says] of refused) {
    test(`${what} (${name})`, async () => {
      write('ok.ts', 'export const yes = 1;');
      await assert.rejects(new DeviceFile(write(name, text)).load(), (error) => {
        assert.ok(error instanceof DeviceFileError);
        assert.match(error.message.replaceAll(folder, ''), says);
        assert.doesNotMatch(error.message, /\n|\?virtio/);
        return true;
      });
    });
  }

  test('an error in an imported file is told with that file and line', async () => {
    const bad = write('lib/bad.mjs', 'export const a = 1;\n}');
    await assert.rejects(new DeviceFile(write('d.ts', "import './lib/bad.mjs';")).load(), {
      message: `${bad}:2:1: Expression expected`,
    });
  });

  for (const name of ['d.ts', 'd.mjs'])
    test(`the line of a syntax error is shown (${name})`, async () => {
      const text = `${'\n'.repeat(11)}let longer = = 2;`;
      await assert.rejects(new DeviceFile(write(name, text)).load(), (error) => {
        assert.match(
          (error as DeviceFileError).detail.join('\n'),
          /^> 12 \| let longer = = 2;\n +\| {14}\^$/m,
        );
        return true;
      });
    });

  test('the line of an import that is not exported is shown, whose column is not known', async () => {
    write('ok.ts', 'export const yes = 1;');
    const path = write('d.ts', "\nimport { no } from './ok.ts'; no;");
    await assert.rejects(new DeviceFile(path).load(), (error) => {
      assert.match((error as DeviceFileError).detail.join('\n'), /^> 2 \| import \{ no \}/m);
      return true;
    });
  });

  test('a file that is missing is one of those to look for, a package is not', async () => {
    const files = async (text: string, says: RegExp): Promise<string[]> => {
      const file = new DeviceFile(write('here/d.ts', text));
      await assert.rejects(file.load(), says);
      return [...file.files.keys()].map((path) => path.replace(folder, ''));
    };
    const above = "import '../words.js';";
    assert.deepEqual(await files(above, /Cannot find module/), ['/here/d.ts', '/words.js']);
    write('words.ts', '');
    assert.deepEqual(await files(above, /no default export/), ['/here/d.ts', '/words.ts']);
    assert.deepEqual(await files("import 'no-such/thing.js';", /Cannot find package 'no-such'/), [
      '/here/d.ts',
    ]);
  });

  test('no file, a folder, another kind of file', () => {
    assert.throws(() => new DeviceFile(join(folder, 'none.ts')), /there is no file .*none\.ts/);
    mkdirSync(join(folder, 'folder.ts'));
    assert.throws(() => new DeviceFile(join(folder, 'folder.ts')), /is no file/);
    assert.throws(() => new DeviceFile(write('d.json', '{}')), /a device file is a \.ts/);
  });
});
