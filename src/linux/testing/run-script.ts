import { spawnSync } from 'node:child_process';

const os = JSON.stringify(new URL('../linux-os.js', import.meta.url).href);
const reactor = JSON.stringify(new URL('../reactor.js', import.meta.url).href);

/**
 * Runs a piece of JavaScript, in which `LinuxOs`, `Reactor`, `EPOLLIN` and `EPOLLET` are known, in a process of its own.
 *
 * @param limits - shell commands to run first, such as `ulimit -n 64`.
 */
export function runScript(
  script: string,
  limits = 'true',
): { output: string; errors: string; status: number | null } {
  const source = `import { LinuxOs } from ${os}; import { EPOLLET, EPOLLIN, Reactor } from ${reactor}; ${script}`;
  const child = spawnSync(
    'sh',
    ['-c', `${limits}; exec "$0" "$@"`, process.execPath, '--expose-gc', '--input-type=module', '-e', source],
    { encoding: 'utf8', timeout: 60_000, killSignal: 'SIGKILL' },
  );
  return { output: child.stdout.trim(), errors: child.stderr, status: child.status };
}
