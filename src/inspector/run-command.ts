import { CommandError } from './command-error.js';
import type { Live } from './live.js';
import type { Command, CommandAnswer } from './protocol.js';

/**
 * Does what a page asks of devices that are served.
 *
 * @throws CommandError when that can't be.
 */
export async function runCommand(
  live: Live,
  command: Exclude<Command, { command: 'view' }>,
): Promise<CommandAnswer> {
  switch (command.command) {
    case 'hold':
    case 'step':
      checkQueue(live, command.connection, command.queue);
      await live.run(command);
      break;
    case 'release':
      if (command.connection === undefined) {
        const held = new Set(live.holds().map(({ connection }) => connection));
        await Promise.all([...held].map((connection) => live.run({ command: 'release', connection })));
      } else {
        checkQueue(live, command.connection, command.queue);
        await live.run({ ...command, connection: command.connection });
      }
      break;
    case 'break':
      return { ok: true, breakpoint: live.break(command.connection, command.queue, command.on) };
    case 'enable':
      live.enable(command.breakpoint, command.enabled);
      break;
    case 'unbreak':
      live.unbreak(command.breakpoint);
      break;
  }
  return { ok: true };
}

function checkQueue(live: Live, connection: number, queue: number | undefined): void {
  const model = live.model.connection(connection);
  if (model === undefined || model.gone) throw new CommandError(`there is no connection ${connection}`);
  if (queue !== undefined && model.queues[queue] === undefined)
    throw new CommandError(`connection ${connection} has no queue ${queue}`);
}
