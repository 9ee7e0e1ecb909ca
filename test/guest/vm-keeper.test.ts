import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { DEATHS, dieHow } from '../keeper/die-how.js';
import { start } from '../virtio-misc.js';
import { KERNEL_COMPLAINT } from './guest.js';

/** `VIRTIO_MISC_KILLS=50` for the long way. */
const KILLS = Number(process.env.VIRTIO_MISC_KILLS ?? 5);
/** ms from one death to the next, at most: a worker is ready again before, unless the machine is busy. */
const BETWEEN = 900;

/** What a guest of `vm` said, and how often its device's process was killed. */
interface Survived {
  readonly code: number | null;
  readonly lines: readonly string[];
  readonly stderr: string;
  readonly killed: number;
}

/** Runs `vm`, and kills the process that it says runs the device, again and again, as soon as the guest has printed `ready`. */
async function killedAllTheWhile(args: readonly string[]): Promise<Survived> {
  const child = start(['vm', ...args], dieHow());
  const lines: string[] = [];
  let stderr = '';
  let pid: number | undefined;
  let ready = false;
  let over = false;
  let killed = 0;
  createInterface({ input: child.stdout! }).on('line', (line) => {
    lines.push(line);
    if (line === 'ready') ready = true;
  });
  createInterface({ input: child.stderr! }).on('line', (line) => {
    stderr += `${line}\n`;
    const [, first, next] = /, in process (\d+)$|: process (\d+) goes on$/.exec(line) ?? [];
    if (first !== undefined || next !== undefined) pid = Number(first ?? next);
  });
  const kill = async (): Promise<void> => {
    while (!over && killed < KILLS) {
      await sleep(BETWEEN * Math.random());
      if (over || !ready || pid === undefined) continue;
      process.kill(pid, DEATHS[killed % DEATHS.length]!);
      // Until it is said which one goes on.
      pid = undefined;
      killed += 1;
    }
  };
  const killing = kill();
  try {
    const [code] = (await once(child, 'close')) as [number | null];
    return { code, lines, stderr, killed };
  } finally {
    over = true;
    child.kill('SIGKILL');
    await killing;
  }
}

function untouched({ code, lines, stderr, killed }: Survived): void {
  assert.equal(code, 0, `${lines.join('\n')}\n${stderr}`);
  assert.deepEqual(
    lines.filter((line) => KERNEL_COMPLAINT.test(line)),
    [],
  );
  assert.doesNotMatch(stderr, /QEMU:|dropped:|broken|refused/);
  assert.ok(killed >= Math.min(3, KILLS), `${killed} were killed`);
}

const RINGS = KILLS > 5 ? [[], ['--features', 'packed']] : [[]];

for (const features of RINGS) {
  test(`vm: 1,000 timers are armed while the device's process is killed by SIGKILL and SIGBUS, aborts and throws: none early, lost or twice ${features.join(' ')}`, async (t) => {
    const longest = 3000 + KILLS * BETWEEN;
    const outcome = await killedAllTheWhile([
      ...['--device', 'misc', '--quiet', ...features, '--exec'],
      `echo ready; misc-timer-stress --processes 8 --timers 1000 --min-ms 1 --max-ms ${longest} --cancel-third && misc-timer 50 25`,
    ]);
    untouched(outcome);
    const all = outcome.lines.join('\n');
    const sum =
      /^1000 timers: \d+ expired, \d+ cancelled; 0 early, 0 lost, 0 twice, 0 after cancel, 0 out of order, 0 failed/m;
    assert.match(all, sum);
    assert.match(all, /timer \d+ \(25 ms\) expired/);
    t.diagnostic(`${outcome.killed} died; ${sum.exec(all)![0]}`);
  });
}

for (const transport of ['vhost-user', 'vfio-user'] as const) {
  test(`vm: 64 processes make requests while the device's process is killed by SIGKILL and SIGBUS, aborts and throws: each gets its own answer (${transport})`, async (t) => {
    // Enough for it to be killed so often on a quick machine.
    const rounds = Math.max(4, KILLS);
    const outcome = await killedAllTheWhile([
      ...['--device', 'test', '--quiet', '--transport', transport, '--exec'],
      `echo Y >/sys/module/virtio_test/parameters/quiet; echo ready; for i in $(seq ${rounds}); do virtio-stress 64 5000 || exit 1; done`,
    ]);
    untouched(outcome);
    const right = outcome.lines.filter((line) => line.startsWith('5000 answered, 0 wrong, 0 failed'));
    assert.equal(right.length, rounds, outcome.lines.join('\n'));
    t.diagnostic(`${outcome.killed} died, for ${rounds * 5000} requests`);
  });
}
