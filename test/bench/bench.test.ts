import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { BENCHES } from '../../bench/benches.js';
import type { Table } from '../../bench/harness/bench.js';

const program = fileURLToPath(new URL('../../bench/main.js', import.meta.url));

function bench(args: readonly string[], env: Record<string, string> = {}) {
  return spawnSync(process.execPath, ['--expose-gc', program, ...args], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
    timeout: 110_000,
  });
}

// How fast it was is nobody's business here.
for (const args of [...Object.keys(BENCHES), 'echo --keeper'].map((line) => line.split(' '))) {
  const [name = ''] = args;
  // It boots guests: test/guest/ has it.
  if (name === 'guest') continue;
  test(`npm run bench -- ${args.join(' ')}`, () => {
    const { stdout, stderr, status } = bench([...args, '--quick', '--json']);
    assert.equal(status, 0, stderr);
    const tables: readonly Table[] = JSON.parse(stdout).benches[name];
    assert.ok(tables.length > 0);
    for (const { title, columns, rows } of tables) {
      assert.ok(rows.length > 0, title);
      for (const row of rows) assert.ok(row.length <= columns.length, title);
    }
  });
}

test('without a C compiler one line says what to do', () => {
  const { stdout, stderr, status } = bench(['echo', '--quick', '--json'], { CC: '/no/such/cc' });
  assert.equal(status, 1);
  assert.equal(stdout, '');
  assert.equal(
    stderr,
    "bench: the yardsticks are C and there is no compiler '/no/such/cc': install gcc, or name one with CC\n",
  );
});

test('what there is not is refused in one line', () => {
  for (const [args, line] of [
    [['ehco'], /^bench: there is no bench 'ehco': take some of echo\b.*\n$/],
    [['--rounds', '0'], /^bench: --rounds is a whole number from 1 to 999, not '0'\n$/],
    [['--fast'], /^bench: Unknown option '--fast': --help says what there is\n$/],
  ] as const) {
    const { stderr, status } = bench(args);
    assert.equal(status, 1);
    assert.match(stderr, line);
  }
});
