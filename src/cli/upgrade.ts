import { Command } from 'commander';
import { runErrand } from './run-errand.js';

/** `virtio-misc upgrade`: the program as it is now on disk goes on with a device that is served. */
export function upgradeCommand(): Command {
  return new Command('upgrade')
    .summary('have the program as it is now on disk go on with a served device')
    .description(
      "Has a process of the program as it is now on disk (another version of it, another Node, a device's file that was edited) go on with a device that\n'virtio-misc serve' serves, under its running guest. One that can't is refused, and the old one goes on. SIGUSR2 does the same.",
    )
    .argument('<socket>', 'the socket that it is served at, or the number of the process')
    .action(async (socket: string) => {
      const { said } = await runErrand(socket, () => ({ do: 'upgrade' }));
      console.log(said);
    });
}
