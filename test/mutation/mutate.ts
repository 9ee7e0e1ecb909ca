/**
 * `npm run mutate`: plants faults in random lines of the chosen rooms, one fault at a time, and shows those that no test noticed.
 * Planting and running is Stryker's work; this chooses the lines and says what came of it.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { ROOMS, type Room } from './rooms.js';
import { type Candidate, codeLines, sample, seeded } from './sample.js';

type Mutant = {
  mutatorName: string;
  replacement?: string;
  status: string;
  location: { start: { line: number; column: number } };
};
type Report = { files: Record<string, { mutants: Mutant[]; source: string }> };

/** Faults that a test noticed: it failed, or did not come to its end. */
const CAUGHT = new Set(['Killed', 'Timeout', 'RuntimeError']);

/** Where it can't be seen which test comes by a fault, each counts as one that does. */
const EVERYWHERE = ['--import', './dist/test/mutation/everywhere.js'];

function candidatesOf(room: string): Candidate[] {
  return readdirSync(join('src', room), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts') && !name.includes('testing'))
    .sort()
    .flatMap((name) => codeLines(join('src', room, name), readFileSync(join('src', room, name), 'utf8')));
}

function plant({ tests, coverage }: Room, lines: Candidate[], folder: string): Report {
  const config = JSON.parse(readFileSync('test/mutation/stryker.json', 'utf8')) as Record<string, unknown> & {
    tap: { nodeArgs: string[] };
  };
  const report = join(folder, 'report.json');
  const file = join(folder, 'stryker.json');
  Object.assign(config, {
    mutate: lines.map(({ file, line }) => `${file}:${line}-${line}`),
    tap: {
      ...config.tap,
      testFiles: tests,
      nodeArgs: coverage === 'seen' ? config.tap.nodeArgs : [...EVERYWHERE, ...config.tap.nodeArgs],
    },
    jsonReporter: { fileName: report },
  });
  writeFileSync(file, JSON.stringify(config));
  const { status } = spawnSync('test/mutation/node_modules/.bin/stryker', ['run', file], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  if (status !== 0) program.error(`Stryker ended with ${status}: its words are above`);
  return JSON.parse(readFileSync(report, 'utf8')) as Report;
}

/** Prints a room's outcome; returns how many faults were planted and how many of them were caught. */
function tell(room: string, report: Report): [planted: number, caught: number] {
  let planted = 0;
  let caught = 0;
  for (const [file, { mutants, source }] of Object.entries(report.files)) {
    if (!file.startsWith(`src/${room}/`)) continue;
    for (const { status, location, mutatorName, replacement } of mutants) {
      // A fault that does not compile, or that was left out, is none.
      if (status === 'CompileError' || status === 'Ignored') continue;
      planted++;
      if (CAUGHT.has(status)) {
        caught++;
        continue;
      }
      const { line, column } = location.start;
      console.log(`${file}:${line}:${column} ${mutatorName}: ${replacement?.split('\n')[0] ?? ''}`);
      console.log(`    ${source.split('\n')[line - 1]?.trim() ?? ''}`);
    }
  }
  console.log(`${room}: ${caught} of ${planted} planted faults caught`);
  return [planted, caught];
}

function whole(text: string): number {
  if (!/^[0-9]{1,9}$/.test(text)) throw new InvalidArgumentError('takes a whole number');
  return Number(text);
}

const program: Command = new Command('npm run mutate --')
  .description('plants faults in random lines of rooms and shows those that no test noticed')
  .argument('[room...]', `rooms of src/: ${Object.keys(ROOMS).join(', ')}; all of them without any`)
  .option('--lines <n>', 'lines of code to plant faults in, in each room', whole, 15)
  .option('--seed <n>', 'chooses the same lines again', whole, Date.now() % 1_000_000)
  .action((rooms: string[], { lines, seed }: { lines: number; seed: number }) => {
    const unknown = rooms.find((room) => ROOMS[room] === undefined);
    if (unknown !== undefined)
      program.error(`there is no room ${unknown}; take one of ${Object.keys(ROOMS).join(', ')}`);
    const chosen = rooms.length > 0 ? rooms : Object.keys(ROOMS);
    const totals: [planted: number, caught: number][] = [];
    // Rooms with the same tests share a run: the first look at all tests is what takes long.
    for (const kind of new Set(chosen.map((room) => ROOMS[room]!))) {
      const together = chosen.filter((room) => ROOMS[room] === kind);
      const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-mutation-'));
      try {
        const places = together.flatMap((room) => sample(candidatesOf(room), lines, seeded(seed)));
        const report = plant(kind, places, folder);
        totals.push(...together.map((room) => tell(room, report)));
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    }
    const planted = totals.reduce((sum, [count]) => sum + count, 0);
    const caught = totals.reduce((sum, [, count]) => sum + count, 0);
    console.log(
      `in all: ${caught} of ${planted} caught (${((100 * caught) / planted).toFixed(1)} %); --seed ${seed} plants the same again`,
    );
  });
program.parse();
