import { CommandError } from './command-error.js';
import type { Live } from './live.js';
import type { Command, CommandAnswer } from './protocol.js';
import type { QueueModel } from './queue-model.js';

/**
 * Does what a page asks of devices that are served.
 *
 * @throws CommandError when that can't be.
 */
export function runCommand(live: Live, command: Exclude<Command, { command: 'view' }>): CommandAnswer {
  const { debugger: debug } = live;
  switch (command.command) {
    case 'hold':
      for (const queue of queuesOf(live, command.connection, command.queue)) debug.hold(queue);
      break;
    case 'step':
      for (const queue of queuesOf(live, command.connection, command.queue))
        debug.step(queue, command.chains ?? 1);
      break;
    case 'release':
      if (command.connection === undefined) debug.releaseAll();
      else for (const queue of queuesOf(live, command.connection, command.queue)) debug.release(queue);
      break;
    case 'break':
      return { ok: true, breakpoint: debug.break(command.connection, command.queue, command.on) };
    case 'enable':
      debug.enable(command.breakpoint, command.enabled);
      break;
    case 'unbreak':
      debug.unbreak(command.breakpoint);
      break;
  }
  return { ok: true };
}

function queuesOf(live: Live, connection: number, queue: number | undefined): readonly QueueModel[] {
  const model = live.model.connection(connection);
  if (model === undefined || model.gone) throw new CommandError(`there is no connection ${connection}`);
  if (queue === undefined) return model.queues;
  const one = model.queues[queue];
  if (one === undefined) throw new CommandError(`connection ${connection} has no queue ${queue}`);
  return [one];
}
