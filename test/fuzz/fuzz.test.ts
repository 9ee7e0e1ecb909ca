import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { TARGETS } from './targets.js';

const program = fileURLToPath(new URL('main.js', import.meta.url));
const planted = ['--from', fileURLToPath(new URL('planted.js', import.meta.url)), '--seed', '1'];

async function fuzz(
  args: readonly string[],
  onLine?: (line: string, pid: number) => void,
): Promise<[number | null, string]> {
  const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  const hear = (text: string): void => {
    said += text;
    onLine?.(said, child.pid!);
  };
  child.stdout.setEncoding('utf8').on('data', hear);
  child.stderr.setEncoding('utf8').on('data', hear);
  const [code] = (await once(child, 'close')) as [number | null];
  return [code, said];
}

describe('every target, for a short while', () => {
  for (const { name } of TARGETS) {
    test(name, async () => {
      const [code, said] = await fuzz([name, '--steps', '2000']);
      assert.equal(code, 0, said);
      const [, steps] = /^([\d,]+) steps in .*: nothing found$/m.exec(said)!;
      assert.ok(Number(steps!.replaceAll(',', '')) >= 2000, said);
    });
  }
});

describe('what is wrong is found, printed with what does it again, and found again', () => {
  for (const [target, steps, what] of [
    ['throws', '1e9', /FOUND Error: more than 900[\s\S]*the least input that does it: \[901\]/],
    ['spins', '1e9', /FOUND it hangs: one run has taken \d+ ms of the processor/],
    ['sleeps', '1e9', /FOUND it hangs: one run sleeps for over 2000 ms/],
    ['dies', '1e9', /FOUND it died: SIGSEGV/],
    ['throws later', '1e9', /FOUND it died: exit code 1[\s\S]*nobody catches this/],
  ] as const) {
    test(target, async () => {
      const [code, said] = await fuzz([target, '--steps', steps, ...planted]);
      assert.equal(code, 1, said);
      assert.match(said, what);
      assert.match(said, new RegExp(`seed 1: found something in ${target}`));
      const [, seed, path] = /--seed (\S+) --path (\S+)/.exec(said)!;
      const [again, saidAgain] = await fuzz([target, ...planted, '--seed', seed!, '--path', path!]);
      assert.equal(again, 1, saidAgain);
      assert.match(saidAgain, what);
    });
  }

  for (const [target, what] of [
    ['grows', /FOUND it grows: bytes: \d+ at first, \d+ after \d+ runs/],
    ['opens', /FOUND it grows: descriptors: \d+ at first/],
  ] as const) {
    test(target, async () => {
      const [code, said] = await fuzz([target, '--steps', '20000', ...planted]);
      assert.equal(code, 1, said);
      assert.match(said, what);
    });
  }
});

test('what is not wrong is not found, and the same seed does the same', async () => {
  const all = await Promise.all([1, 2].map(() => fuzz(['sound', '--steps', '20000', ...planted])));
  for (const [code, said] of all) assert.equal(code, 0, said);
  const [one, other] = all.map(([, said]) => /^sound: (\S+ steps \S+ in \S+ runs)/m.exec(said)![1]);
  assert.equal(one, other);
});

test('Ctrl-C ends it with the sum', async () => {
  let told = false;
  const [code, said] = await fuzz(['sound', '--time', '1h', ...planted, '--every', '100ms'], (line, pid) => {
    if (told || !/^sound: [\d,]+ steps/m.test(line)) return;
    told = true;
    process.kill(pid, 'SIGINT');
  });
  assert.equal(code, 0, said);
  assert.match(said, /^[\d,]+ steps in \d+ s, [\d,]+\/s, seed 1: nothing found$/m);
});

test('what can not be meant is refused in a line', async () => {
  for (const [args, what] of [
    [['split'], /^there is no target split: .*split-device/],
    [['--time', 'soon'], /Give a time, such as 30s, 10m or 8h/],
    [['--path', '3'], /^--path is of one target: name it/],
  ] as const) {
    const [code, said] = await fuzz(args);
    assert.equal(code, 1);
    assert.match(said, what);
    assert.equal(said.trim().split('\n').length, 1, said);
  }
});
