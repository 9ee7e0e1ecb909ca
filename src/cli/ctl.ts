import { connect } from 'node:net';
import { resolve } from 'node:path';
import { Command } from 'commander';
import { printable } from '../lines/printable.js';
import { UsageError } from './usage-error.js';

/** `virtio-misc ctl`: asks something of a device that runs. */
export function ctlCommand(): Command {
  return new Command('ctl')
    .summary('ask something of a device that runs')
    .description(
      "Asks a device that 'serve' or 'vm' runs with --control SOCKET for something that it declares (`controls` in its definition).\nWithout a control it lists what there is. Where processes of their own run the devices, 'process' is answered with the number of each.",
    )
    .argument('<socket>', 'the socket of --control')
    .argument('[control]', 'what to ask')
    .argument('[words...]', 'what is said with it: values in order, or name=value')
    .action(async (socket: string, control: string | undefined, words: string[]) => {
      const said = await ask(resolve(socket), control === undefined ? [] : [control, ...words]);
      if (said !== '') console.log(said);
    });
}

/** @throws UsageError when it is refused, or nobody is there. */
function ask(path: string, words: readonly string[]): Promise<string> {
  return new Promise((done, reject) => {
    const fail = (why: string): void => reject(new UsageError(why));
    const socket = connect(path, () => socket.write(`${JSON.stringify(words)}\n`));
    socket.on('error', ({ code, message }: NodeJS.ErrnoException) =>
      fail(
        code === 'ENOENT' || code === 'ECONNREFUSED'
          ? `nobody listens at ${path}: start the device with --control ${path}`
          : `${path}: ${message}`,
      ),
    );
    socket.on('close', () => fail(`${path}: the device's process ended before it answered`));
    let text = '';
    socket.setEncoding('utf8').on('data', (piece: string) => {
      text += piece;
      const end = text.indexOf('\n');
      if (end < 0) return;
      socket.destroy();
      const answer = parse(text.slice(0, end));
      if (typeof answer?.said === 'string') done(answer.said.split('\n').map(printable).join('\n'));
      else if (typeof answer?.refused === 'string') fail(printable(answer.refused));
      else fail(`${path} is no control socket of virtio-misc's`);
    });
  });
}

function parse(line: string): { said?: unknown; refused?: unknown } | undefined {
  try {
    return JSON.parse(line) as { said?: unknown; refused?: unknown };
  } catch {
    return undefined;
  }
}
