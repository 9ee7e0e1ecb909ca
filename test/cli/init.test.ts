import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { virtioMisc } from '../virtio-misc.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function npm(where: string, ...args: string[]): string {
  // A test runner that finds itself in another one's test runs nothing.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const stdio = ['ignore', 'pipe', 'ignore'] as const;
  return execFileSync('npm', args, { cwd: where, env, encoding: 'utf8', stdio: [...stdio] });
}

test('init writes a device whose unit test passes, after npm install', async () => {
  const { code, lines } = await virtioMisc('init', 'egg-timer', '--dir', folder, '--id', '61');
  assert.equal(code, 0);
  assert.match(lines.join('\n'), /cd \S*egg-timer && npm install && npm test/);
  const made = join(folder, 'egg-timer');
  const files = ['README.md', 'device.test.js', 'device.ts', 'egg-timer.c', 'package.json', 'tsconfig.json'];
  assert.deepEqual(readdirSync(made).sort(), files);
  for (const file of files) {
    const text = readFileSync(join(made, file), 'utf8');
    assert.doesNotMatch(text, /my[-_]adder|\b60\b/, file);
  }
  assert.match(readFileSync(join(made, 'egg-timer.c'), 'utf8'), /^#define VIRTIO_ID_ADDER\t61$/m);
  assert.match(readFileSync(join(made, 'device.ts'), 'utf8'), /^ {4}id: 61,$/m);
  assert.match(readFileSync(join(made, 'README.md'), 'utf8'), /drivers\/egg_timer\/virtio0;/);

  // `prepare` would build again, under the feet of the tests that run.
  npm(made, 'install', '--ignore-scripts', '--no-audit');
  assert.match(npm(made, 'test'), /^. pass 3\n. fail 0$/mu);

  // A device of several files, named as TypeScript wants it and as Node does.
  renameSync(join(made, 'device.ts'), join(made, 'adder.ts'));
  for (const name of ['./adder.js', './adder.ts']) {
    writeFileSync(join(made, 'device.ts'), `export { default, Request, Response } from '${name}';\n`);
    assert.match(npm(made, 'test'), /^. pass 3\n. fail 0$/mu);
  }
  renameSync(join(made, 'adder.ts'), join(made, 'device.ts'));

  // The test is there to fail: a device that subtracts.
  const device = join(made, 'device.ts');
  writeFileSync(device, readFileSync(device, 'utf8').replace('sum: a + b', 'sum: a - b'));
  assert.throws(() => npm(made, 'test'), { status: 1 });

  // What an editor shows.
  writeFileSync(device, readFileSync(device, 'utf8').replace('sum: a - b', "sum: 'a + b'"));
  const check = (): string => npm(made, 'run', 'check', '--silent');
  assert.throws(check, ({ stdout }) => /Type 'string' is not assignable to type 'number'/.test(stdout));
  writeFileSync(device, readFileSync(device, 'utf8').replace("sum: 'a + b'", 'sum: a + b'));
  assert.equal(check(), '');
});

test('who makes a device that Linux has a driver for is told so', async () => {
  const { lines } = await virtioMisc('init', 'my-balloon', '--dir', folder, '--id', '5');
  assert.ok(
    lines.includes(
      'note:  Linux has a driver for id 5, virtio_balloon: you need no my-balloon.c, and vm no --module of it',
    ),
    lines.join('\n'),
  );
  const own = await virtioMisc('init', 'my-own', '--dir', folder, '--id', '62');
  assert.ok(!own.lines.some((line) => line.startsWith('note:')));
});

for (const [template, name, id] of [
  ['stream', 'tape', 3],
  ['stock', 'dice', 4],
] as const) {
  test(`init --template ${template}: its unit test passes and its types check`, async () => {
    const { code, stderr } = await virtioMisc('init', name, '--dir', folder, '--template', template);
    assert.equal(code, 0, stderr);
    const made = join(folder, name);
    const files = ['README.md', 'device.test.js', 'device.ts', 'package.json', 'tsconfig.json'];
    assert.deepEqual(readdirSync(made).sort(), files);
    for (const file of files)
      assert.doesNotMatch(readFileSync(join(made, file), 'utf8'), /my[-_](source|stream)/, file);
    assert.match(readFileSync(join(made, 'device.ts'), 'utf8'), new RegExp(`^ {4}id: ${id},$`, 'm'));
    npm(made, 'install', '--ignore-scripts', '--no-audit');
    assert.match(npm(made, 'test'), /^. pass 1\n. fail 0$/mu);
    assert.equal(npm(made, 'run', 'check', '--silent'), '');
  });
}

test('init takes an empty folder, and leaves one with something in it alone', async () => {
  mkdirSync(join(folder, 'empty'));
  assert.equal((await virtioMisc('init', 'empty', '--dir', folder)).code, 0);
  const { code, stderr } = await virtioMisc('init', 'empty', '--dir', folder);
  assert.equal(code, 1);
  assert.match(
    stderr,
    /^virtio-misc: \S+\/empty is not empty: take another name, or another folder with --dir$/m,
  );
  writeFileSync(join(folder, 'file'), 'precious');
  const over = await virtioMisc('init', 'file', '--dir', folder);
  assert.match(over.stderr, /^virtio-misc: \S+\/file is there already$/m);
  assert.equal(readFileSync(join(folder, 'file'), 'utf8'), 'precious');
});

for (const [args, says] of [
  ['Adder', /'Adder' is no name for a device: take letters a to z/],
  ['my--adder', /'my--adder' is no name for a device/],
  ['9lives', /'9lives' is no name for a device/],
  ['../adder', /'..\/adder' is no name for a device/],
  ['x'.repeat(40), /is too long for a kernel module: take up to 32 characters/],
  ['virtio-test', /'virtio-test' is a kernel module of virtio-misc's own: take another name/],
  ['adder --id 0', /write a whole number from 1 to 65535/],
  ['adder --id 65536', /write a whole number from 1 to 65535/],
] as const) {
  test(`init ${args} is refused`, async () => {
    const { code, lines, stderr } = await virtioMisc('init', ...args.split(' '), '--dir', folder);
    assert.equal(code, 1);
    assert.deepEqual(lines, []);
    assert.match(stderr, says);
    assert.doesNotMatch(stderr, /^ +at /m, 'no stack trace');
    assert.deepEqual(readdirSync(folder), []);
  });
}
