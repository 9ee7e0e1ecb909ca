import { once } from 'node:events';
import { Command, Option } from 'commander';
import { printable } from '../lines/printable.js';
import type { InspectEvent, SeenDevice } from '../observe/event.js';
import { eventJson } from '../record/event-json.js';
import { eventLine } from '../record/event-line.js';
import { RecordingError } from '../record/recording-error.js';
import { didYouMean } from '../virtio/nearest.js';
import { duration, TIME_HELP } from './duration.js';
import { damageLine, readRecording } from './read-recording.js';
import { UsageError } from './usage-error.js';

interface Options {
  readonly queue?: string;
  readonly from?: number;
  readonly broken?: boolean;
  readonly json?: boolean;
}

/** Events that are shown before one that tells of something broken. */
const BEFORE = 10;

/** `virtio-misc show`: a recording as text. */
export function showCommand(): Command {
  return new Command('show')
    .summary('show a recording as text')
    .description(
      "Shows what 'serve' or 'vm' wrote with --record: a line for each event, with its time since the first one in seconds, the number of\nits connection, and what the bytes of chains stand for. A file that is cut or damaged is shown up to there; the exit code is 1 then.",
    )
    .addHelpText('after', `\n${TIME_HELP}`)
    .argument('<file>', 'the recording')
    .option('--queue <name>', 'only the events of this queue, by its name or number')
    .addOption(new Option('--from <time>', 'only from so long after the first event on').argParser(duration))
    .option('--broken', `only what broke, and the ${BEFORE} events of its connection before that`)
    .option('--json', 'each event as a line of JSON')
    .action(run);
}

async function run(path: string, options: Options): Promise<void> {
  const devices = new Map<number, SeenDevice>();
  const filter = new Filter(options);
  let damage: RecordingError | undefined;
  try {
    for await (const event of readRecording(path)) {
      if (event.type === 'connected' || event.type === 'replaced')
        devices.set(event.connection, event.device);
      const device = devices.get(event.connection);
      for (const [shown, of] of filter.pass(event, device))
        await write(options.json ? eventJson(shown, of) : line(shown, of));
    }
  } catch (error) {
    if (!(error instanceof RecordingError)) throw error;
    damage = error;
  }
  if (damage !== undefined) throw new UsageError(damageLine(path, damage));
  if (options.queue !== undefined && !filter.found) {
    const names = [...new Set([...devices.values()].flatMap(({ queues }) => queues.map(({ name }) => name)))];
    throw new UsageError(
      printable(`there is no queue '${options.queue}' in ${path}${didYouMean(options.queue, names)}`),
    );
  }
}

/** What is shown of a recording, in its order. */
class Filter {
  readonly #options: Options;
  /** By connection: the last events, for `--broken`. */
  readonly #before = new Map<number, [InspectEvent, SeenDevice | undefined][]>();
  /** Whether the queue is there. */
  found = false;

  constructor(options: Options) {
    this.#options = options;
  }

  pass(event: InspectEvent, device: SeenDevice | undefined): [InspectEvent, SeenDevice | undefined][] {
    const { queue, from = 0, broken } = this.#options;
    if (queue !== undefined) {
      this.found ||=
        device?.queues.some(({ name }, index) => name === queue || `${index}` === queue) ?? false;
      if (!('queue' in event) || (event.name !== queue && `${event.queue}` !== queue)) return [];
    }
    if (event.time < from * 1e6) return [];
    if (!broken) return [[event, device]];
    const { connection } = event;
    const before = this.#before.get(connection) ?? [];
    before.push([event, device]);
    this.#before.set(connection, before);
    if (isBroken(event)) {
      this.#before.delete(connection);
      return before;
    }
    if (before.length > BEFORE) before.shift();
    if (event.type === 'gone') this.#before.delete(connection);
    return [];
  }
}

function isBroken(event: InspectEvent): boolean {
  return (
    event.type === 'broken' ||
    event.type === 'warning' ||
    (event.type === 'gone' && event.error !== undefined)
  );
}

function line(event: InspectEvent, device: SeenDevice | undefined): string {
  return `${(event.time / 1e9).toFixed(9).padStart(14)}  ${event.connection}  ${eventLine(event, device)}`;
}

async function write(text: string): Promise<void> {
  if (!process.stdout.write(`${text}\n`)) await once(process.stdout, 'drain');
}
