import { Command } from 'commander';
import { runErrand } from './run-errand.js';
import { writeState } from './state-file.js';

/** `virtio-misc save`: the state of a device whose guest stands still, in a file. */
export function saveCommand(): Command {
  return new Command('save')
    .summary("write a device's state into a file")
    .description(
      "Writes the state of a device that 'virtio-misc serve' serves into a file, for 'serve --restore' to go on from. Its guest must stand still\n(QEMU: stop). The device goes on as well: its process may be ended then, or the guest go on with it.",
    )
    .argument('<socket>', 'the socket that it is served at, or the number of the process')
    .argument('<file>', 'what to write; it is replaced if it is there')
    .option('--stopped', 'over vfio-user: the guest stands still; QEMU has no message that says so')
    .action(async (socket: string, file: string, { stopped = false }: { stopped?: boolean }) => {
      const { said, bytes } = await runErrand(socket, (identity) => ({
        do: 'save',
        ...(identity !== undefined && { socket: identity }),
        standing: stopped,
      }));
      writeState(file, bytes);
      console.log(said);
    });
}
