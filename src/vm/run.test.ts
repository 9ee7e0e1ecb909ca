import assert from 'node:assert/strict';
import { test } from 'node:test';
import { run, runPiped } from './run.js';
import { VmError } from './vm-error.js';

test('a program gives its output; a failure says which program, how it ended and what it said', async () => {
  assert.equal(await run('printf', ['a b']), 'a b');
  await assert.rejects(
    run('sh', ['-c', 'echo out; echo err >&2; exit 3'], { code: 'BUILD' }),
    (error: unknown) => {
      assert.ok(error instanceof VmError);
      assert.equal(error.code, 'BUILD');
      assert.equal(error.message, 'sh failed (3)\nout\nerr');
      return true;
    },
  );
  await assert.rejects(run('sh', ['-c', 'kill -9 $$']), /sh failed \(SIGKILL\)/);
  await assert.rejects(run('no-such-program', []), /there is no program 'no-such-program'/);
});

test('an abort ends the program', async () => {
  const stopper = new AbortController();
  const running = run('sleep', ['1000'], { signal: stopper.signal });
  stopper.abort();
  await assert.rejects(running, { code: 'ABORTED' });
  await assert.rejects(run('true', [], { signal: stopper.signal }), { code: 'ABORTED' });
});

test('piped programs: either failing is a failure', async () => {
  await runPiped(['printf', ['abc']], ['grep', ['-q', 'abc']]);
  await runPiped(['sh', ['-c', 'head -c 1000000 /dev/zero']], ['true', []]);
  // The reader leaves before the writer is done.
  await assert.rejects(runPiped(['yes', []], ['sh', ['-c', 'exit 5']]), /sh failed \(5\)/);
  await assert.rejects(runPiped(['sh', ['-c', 'echo abc; exit 4']], ['cat', []]), /sh failed \(4\)/);
});
