import { createReadStream } from 'node:fs';
import { basename } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { Command, Option } from 'commander';
import { InspectorServer } from '../inspector/http/inspector-server.js';
import { Recorded } from '../inspector/recorded.js';
import { printable } from '../lines/printable.js';
import { RecordingError } from '../record/recording-error.js';
import { readPort, whyNot } from './inspect-option.js';
import { endWithNpm } from './npm-parent.js';
import { damageLine } from './read-recording.js';
import { stopSignal } from './stop-signal.js';
import { UsageError } from './usage-error.js';

interface Options {
  readonly port: number;
  readonly host: string;
}

/** `virtio-misc inspect`: a recording on a page. */
export function inspectCommand(): Command {
  return new Command('inspect')
    .summary('show a recording on a page')
    .description(
      "Serves a page that shows what 'serve' or 'vm' wrote with --record, until SIGINT or SIGTERM: the same page that --inspect has for what is\nserved. A file that is cut or damaged is shown up to there.",
    )
    .argument('<file>', 'the recording')
    .addOption(
      new Option('--port <port>', 'of the page; any unless told').argParser(readPort).default(0, 'any'),
    )
    .option('--host <address>', 'serve the page on this address', '127.0.0.1')
    .action(run);
}

async function run(path: string, { port, host }: Options): Promise<void> {
  const recorded = await read(path);
  const title = recorded.source.name;
  const server = await InspectorServer.listen({ title, host, port, recorded }).catch((error: unknown) => {
    throw new UsageError(`--port: ${whyNot(error, port, host)}`);
  });
  const stopped = stopSignal();
  endWithNpm();
  const { damage } = recorded.source;
  if (damage !== undefined) process.stderr.write(`${printable(path)}: ${printable(damage)}\n`);
  process.stdout.write(`inspector at ${server.url}\n`);
  await stopped;
  server.close();
}

async function read(path: string): Promise<Recorded> {
  try {
    const pieces = createReadStream(path, { highWaterMark: 1 << 20 });
    return await Recorded.read('recording', basename(path), pieces, async () => void (await turn()));
  } catch (error) {
    if (error instanceof RecordingError) throw new UsageError(damageLine(path, error));
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    throw new UsageError(
      code === 'ENOENT' ? `there is no file ${path}` : `${path} can't be read: ${message}`,
    );
  }
}
