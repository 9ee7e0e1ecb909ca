/*
 * npm run test:kernel: all tests of the guest's modules, on a kernel that checks everything.
 *
 * With `-- --soak` the timers' test is run over and over for an hour, or for as many minutes as `--soak=N` says. VIRTIO_MISC_KERNEL
 * names another kernel than `debug`.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Cache } from '../../src/vm/cache.js';
import { prepareGuest } from '../../src/vm/image.js';
import { progressTo } from '../../src/vm/progress.js';
import { KERNEL } from './debug-guest.js';

const HERE = fileURLToPath(new URL('.', import.meta.url));

/** @param minutes - the longest that a file may take, kernels that it builds included. */
async function run(
  files: readonly string[],
  minutes: number,
  env: Readonly<Record<string, string>> = {},
): Promise<boolean> {
  // Two guests at a time: each has one processor, and its checks make it slow.
  const options = ['--test', '--test-concurrency=2', `--test-timeout=${minutes * 60_000}`];
  const child = spawn(process.execPath, [...options, ...files], {
    cwd: HERE,
    stdio: 'inherit',
    env: { ...process.env, ...env },
  });
  const [status] = (await once(child, 'close')) as [number | null];
  return status === 0;
}

function minutes(): number | undefined {
  const args = process.argv.slice(2).map((arg) => (arg === '--soak' ? '--soak=60' : arg));
  const { values } = parseArgs({ args, options: { soak: { type: 'string' } } });
  if (values.soak === undefined) return undefined;
  if (!/^[1-9]\d*$/.test(values.soak))
    throw new RangeError(`--soak: not a number of minutes: ${values.soak}`);
  return Number(values.soak);
}

try {
  const soak = minutes();
  // Before any test's own time starts.
  for (const kernel of soak === undefined ? [KERNEL, 'debug-rt'] : [KERNEL])
    await prepareGuest({ cache: Cache.ofUser(), progress: progressTo(process.stderr), kernel });
  const tests = readdirSync(HERE).filter((file) => file.endsWith('.test.js'));
  const good =
    soak === undefined
      ? await run(tests, 240)
      : await run(['soak.js'], soak + 60, { VIRTIO_MISC_SOAK: `${soak}` });
  process.exitCode = good ? 0 : 1;
} catch (error) {
  process.stderr.write(`virtio-misc: ${error instanceof Error ? error.message : error}\n`);
  process.exitCode = 2;
}
