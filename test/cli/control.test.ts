import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { connectVhostUser, openDriver } from '../../src/index.js';
import { MAIN, virtioMisc } from '../virtio-misc.js';

const DEVICE = `import { control, defineDevice, parameter, withOptions } from 'virtio-misc';
export default withOptions({ greeting: parameter.text('what it says'), loud: parameter.flag('shout') }, ({ greeting, loud }) =>
  defineDevice({
    id: 40, name: 'virtio-greeter', queues: [{ name: 'q' }],
    controls: {
      greet: control('greet somebody', { who: parameter.text('a name') }, ({ who }) =>
        loud ? (greeting + ' ' + who).toUpperCase() : greeting + ' ' + who),
    },
  }));
`;

let folder: string;
const children: ChildProcess[] = [];
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  writeFileSync(join(folder, 'greeter.ts'), DEVICE);
});
after(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

const at = (name: string): string => join(folder, name);

/** Serves the greeter until the test ends. */
async function serve(...args: string[]): Promise<ChildProcess> {
  const child = spawn(process.execPath, [MAIN, 'serve', at('greeter.ts'), '--log', 'json', ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  children.push(child);
  for await (const line of createInterface({ input: child.stderr! })) if (line.includes('serving')) break;
  child.stderr!.resume();
  return child;
}

test('--set and --control: options and controls that a device declares, asked by ctl and by lines of stdin', async () => {
  const control = at('control');
  const child = await serve(
    ...['--vhost-user', at('one.sock'), '--set', 'greeting=hello', '--set', 'loud=yes'],
    ...['--control', control, '--control', '-'],
  );
  assert.equal(statSync(control).mode & 0o777, 0o600);
  const early = await virtioMisc('ctl', control, 'greet', 'ann');
  assert.deepEqual([early.code, early.stderr], [1, 'virtio-misc: no front-end has the device yet\n']);

  const driver = await openDriver(await connectVhostUser(at('one.sock')), {
    id: 40,
    features: 0n,
    queues: 1,
  });
  assert.deepEqual((await virtioMisc('ctl', control, 'greet', 'ann')).lines, ['HELLO ANN']);
  assert.deepEqual((await virtioMisc('ctl', control, 'greet', 'who=bob')).lines, ['HELLO BOB']);
  const [line, ...more] = (await virtioMisc('ctl', control)).lines;
  assert.equal(line, 'greet who=<text>  greet somebody');
  assert.match(more.join(), /^process +the number of the process that runs the device now/);
  const wrong = await virtioMisc('ctl', control, 'great', 'ann');
  assert.deepEqual(
    [wrong.code, wrong.stderr],
    [1, "virtio-misc: virtio-greeter: there is no control 'great': did you mean 'greet'?\n"],
  );
  const lines = createInterface({ input: child.stdout! });
  child.stdin!.write('greet "ann and bob"\n');
  assert.deepEqual(await once(lines, 'line'), ['HELLO ANN AND BOB']);

  // A peer that says anything at all breaks nothing.
  const rude = connect(control, () => rude.write('{"no":"list"}\nnot json\n'));
  rude.on('error', () => {});
  const [answer] = (await once(rude.setEncoding('utf8'), 'data')) as [string];
  assert.match(answer, /a request is a list of words/);
  rude.end('x'.repeat(1 << 20));
  await new Promise((closed) => rude.resume().on('close', closed));
  assert.deepEqual((await virtioMisc('ctl', control, 'greet', 'ann')).lines, ['HELLO ANN']);

  await driver.close();
  child.kill('SIGTERM');
  assert.deepEqual(await once(child, 'exit'), [0, null]);
  assert.equal(existsSync(control), false);
});

test('a socket that nobody listens at is taken over, one in use is not', async () => {
  const control = at('stale');
  // What a keeper starts would remove it.
  const first = await serve(
    ...['--vhost-user', at('two.sock'), '--set', 'greeting=hi', '--control', control, '--no-keeper'],
  );
  const args = ['serve', at('greeter.ts'), '--set', 'greeting=hi', '--vhost-user', at('three.sock')];
  const refused = await virtioMisc(...args, '--control', control);
  assert.match(refused.stderr, /--control: another program listens at .*stale$/m);
  assert.equal(existsSync(at('three.sock')), false);
  first.kill('SIGKILL');
  await once(first, 'exit');
  assert.equal(existsSync(control), true);
  const second = await serve('--vhost-user', at('three.sock'), '--set', 'greeting=hi', '--control', control);
  second.kill('SIGTERM');
  assert.deepEqual(await once(second, 'exit'), [0, null]);
});

for (const [args, says] of [
  [['--set', 'greeting'], /write a name and a value, such as disk=\.\/a\.img/],
  [[], /greeter\.ts: the option 'greeting' is missing: greeting=<text>/],
  [['--set', 'greting=x'], /there is no option 'greting': did you mean 'greeting'\?/],
  [['--set', 'greeting=x', '--set', 'loud=perhaps'], /option 'loud' is 'perhaps': write yes or no/],
] as const) {
  test(`serve greeter.ts ${args.join(' ')}: what to say instead`, async () => {
    const { code, stderr } = await virtioMisc('serve', at('greeter.ts'), '--vhost-user', at('x'), ...args);
    assert.equal(code, 1);
    assert.match(stderr, says);
    assert.doesNotMatch(stderr, /^ +at /m);
  });
}

test('ctl says where nobody listens; --set is not for the shipped devices', async () => {
  const none = await virtioMisc('ctl', at('none'));
  assert.match(none.stderr, /nobody listens at .*none: start the device with --control/);
  const shipped = await virtioMisc('serve', 'test', '--vhost-user', at('x'), '--set', 'variant=events');
  assert.match(shipped.stderr, /--set is for devices of your own: an option of 'test' is written as --help/);
});
