import { parseArgs } from 'node:util';
import { BENCHES } from './benches.js';
import { BenchError, type Table } from './harness/bench.js';
import { formatTable } from './harness/format-table.js';
import { machine } from './harness/machine.js';
import { Workshop } from './harness/workshop.js';

const HELP = `npm run bench -- [--json] [--quick] [--rounds N] [--record] [--inspect] [--keeper] [NAME...]

Measures this package beside yardsticks in C. Benches, all unless named: ${Object.keys(BENCHES).join(', ')}

  --json      the tables as JSON
  --rounds N  measure each contender N times, 3 unless told
  --record    echo: what recording costs beside that, instead of all else
  --inspect   echo: the same with the inspector's page open
  --keeper    echo: with a keeper and without, instead of all else
  --quick     only to see that they work: the figures say nothing`;

/** @throws BenchError for what can't be, or can't be run. */
async function main(): Promise<void> {
  const { values, positionals } = readArguments();
  if (values.help) {
    console.log(HELP);
    return;
  }
  const unknown = positionals.find((name) => !Object.hasOwn(BENCHES, name));
  if (unknown !== undefined) {
    throw new BenchError(`there is no bench '${unknown}': take some of ${Object.keys(BENCHES).join(', ')}`);
  }
  if (values.rounds !== undefined && !/^[1-9]\d{0,2}$/.test(values.rounds)) {
    throw new BenchError(`--rounds is a whole number from 1 to 999, not '${values.rounds}'`);
  }
  const { quick = false, json = false, record = false, inspect = false, keeper = false } = values;
  const workshop = new Workshop({
    quick,
    record,
    inspect,
    keeper,
    rounds: Number(values.rounds ?? (quick ? 1 : 3)),
    progress: (line) => {
      if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${line}`);
    },
  });
  process.once('SIGINT', () => void workshop.close().then(() => process.exit(130)));
  process.once('SIGTERM', () => void workshop.close().then(() => process.exit(143)));
  const here = machine();
  const { rounds } = workshop;
  const done: Record<string, readonly Table[]> = {};
  try {
    if (!json)
      console.log(`${here.cpu}, ${here.cpus} CPUs, ${here.kernel}, Node ${here.node}; rounds: ${rounds}\n`);
    for (const name of positionals.length > 0 ? positionals : Object.keys(BENCHES)) {
      const tables = await (await BENCHES[name]!())(workshop);
      workshop.progress('');
      if (!json) for (const table of tables) console.log(formatTable(table));
      done[name] = tables;
    }
    if (json) console.log(JSON.stringify({ machine: here, rounds, quick, benches: done }, undefined, 2));
  } finally {
    workshop.progress('');
    await workshop.close();
  }
}

function readArguments(): {
  values: {
    json?: boolean;
    quick?: boolean;
    rounds?: string;
    record?: boolean;
    inspect?: boolean;
    keeper?: boolean;
    help?: boolean;
  };
  positionals: string[];
} {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        json: { type: 'boolean' },
        quick: { type: 'boolean' },
        rounds: { type: 'string' },
        record: { type: 'boolean' },
        inspect: { type: 'boolean' },
        keeper: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    });
  } catch (error) {
    throw new BenchError(`${(error as Error).message.split('.')[0]}: --help says what there is`);
  }
}

try {
  await main();
} catch (error) {
  if (!(error instanceof BenchError)) throw error;
  process.stderr.write(`bench: ${error.message}\n`);
  process.exitCode = 1;
}
