/**
 * `npm run fuzz -- [TARGET...]`: feeds what takes bytes of peers with anything, for as long as it is told. A target runs in a process of its
 * own, one after the other; what it finds is shrunk and printed with what does it again, and the exit code is 1.
 */
import { createRequire } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Command, InvalidArgumentError } from 'commander';
import type ms from 'ms';
import type { Usage } from './report.js';
import type { Target } from './target.js';
import { Watch, type Watched } from './watch.js';

const msOf = createRequire(import.meta.url)('ms') as typeof ms;

interface Options {
  readonly time?: number;
  readonly steps?: number;
  readonly seed: number;
  readonly path?: string;
  readonly from: string;
  readonly every?: number;
}

function duration(text: string): number {
  const time = msOf(text as ms.StringValue);
  if (!(time > 0)) throw new InvalidArgumentError('Give a time, such as 30s, 10m or 8h.');
  return time;
}

function count(text: string): number {
  const value = Number(text);
  if (!(Number.isSafeInteger(value) && value > 0))
    throw new InvalidArgumentError('Give a number of steps, such as 1e8.');
  return value;
}

function seedOf(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value !== (value | 0))
    throw new InvalidArgumentError('Give an integer of 32 bits.');
  return value;
}

const number = (value: number): string => Math.round(value).toLocaleString('en');
const used = ({ bytes, descriptors }: Usage): string =>
  `${(bytes / 2 ** 20).toFixed(1)} MiB, ${descriptors} descriptors`;

const program = new Command('npm run fuzz --')
  .argument('[target...]', 'what to feed; everything unless told')
  .option('--time <time>', 'for so long in all: 1m unless told', duration)
  .option(
    '--steps <n>',
    'until so many steps were taken in all; no longer than --time, if that is given',
    count,
  )
  .option('--seed <n>', 'the same seed does the same', seedOf, Date.now() | 0)
  .option('--path <path>', 'only the run that was found with the seed')
  .option('--every <time>', 'between two lines of progress', duration)
  .option('--from <module>', 'another list of targets', fileURLToPath(new URL('targets.js', import.meta.url)))
  .helpOption('-h, --help', 'this text')
  .parse();
const options = program.opts<Options>();
const all = ((await import(pathToFileURL(options.from).href)) as { TARGETS: readonly Target[] }).TARGETS;
const chosen = program.args.length === 0 ? all : program.args.map((name) => targetOf(name));
if (options.path !== undefined && chosen.length !== 1) program.error('--path is of one target: name it');

function targetOf(name: string): Target {
  const names = all.map((one) => one.name).join(', ');
  return all.find((one) => one.name === name) ?? program.error(`there is no target ${name}: ${names}`);
}

let interrupted = false;
let watch: Watch | undefined;
process.on('SIGINT', () => {
  interrupted = true;
  watch?.stop();
});

/** On a terminal the line is written over; elsewhere there is one now and then. */
const live = process.stderr.isTTY === true;
const SHOW_EVERY = options.every ?? (live ? 500 : 30_000);

async function run(
  target: Target,
  time: number,
  steps: number,
): Promise<Watched & { readonly took: number }> {
  const start = performance.now();
  let shown = start;
  const { name, step } = target;
  const order = { module: options.from, target: name, seed: options.seed, path: options.path, time, steps };
  watch = new Watch(order, () => {
    const now = performance.now();
    if (now - shown < SHOW_EVERY || watch === undefined) return;
    shown = now;
    const { report, usage } = watch;
    const rate = report.steps / ((now - start) / 1000);
    const line = `${name}: ${number(report.steps)} steps, ${number(rate)}/s${usage === undefined ? '' : `, ${used(usage)}`}`;
    process.stderr.write(live ? `\r\x1b[K${line}` : `${line}\n`);
  });
  const outcome = await watch.done;
  const took = (performance.now() - start) / 1000;
  if (live) process.stderr.write('\r\x1b[K');
  const { first, last, finding } = outcome;
  const grew =
    first === undefined || last === undefined ? '' : `; ${used(first)} at first, ${used(last)} at last`;
  console.log(
    `${name}: ${number(outcome.steps)} steps (${step}) in ${number(outcome.runs)} runs, ${took.toFixed(0)} s, ${number(outcome.steps / took)}/s${grew}`,
  );
  if (finding !== undefined) {
    console.log(`${name}: FOUND ${finding.what}`);
    if (finding.input !== undefined) console.log(`${name}: the least input that does it: ${finding.input}`);
    console.log(`${name}: again: npm run fuzz -- ${name} --seed ${options.seed} --path ${finding.path}`);
  }
  return { ...outcome, took };
}

const end =
  performance.now() + (options.time ?? (options.steps === undefined ? 60_000 : Number.MAX_SAFE_INTEGER));
const found: string[] = [];
let total = 0;
let seconds = 0;
for (const [i, target] of chosen.entries()) {
  if (interrupted) break;
  // What one target leaves of its share is the next ones'.
  const left = chosen.length - i;
  const time = Math.max(0, end - performance.now()) / left;
  const steps =
    options.steps === undefined ? Number.MAX_SAFE_INTEGER : Math.ceil((options.steps - total) / left);
  const { finding, took, ...outcome } = await run(target, time, steps);
  total += outcome.steps;
  seconds += took;
  if (finding !== undefined) found.push(target.name);
}
const what = found.length === 0 ? 'nothing found' : `found something in ${found.join(', ')}`;
console.log(
  `${number(total)} steps in ${seconds.toFixed(0)} s, ${number(total / seconds)}/s, seed ${options.seed}: ${what}`,
);
process.exitCode = found.length === 0 ? 0 : 1;
