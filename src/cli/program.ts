import { CommanderError } from 'commander';
import { DeviceFileError } from '../device-file/device-file-error.js';
import { printable } from '../lines/printable.js';
import { makeProgram } from './make-program.js';
import { endStreams, FLUSH } from './standard-streams.js';

/** Runs the program with the arguments of this process, to its end. */
export async function runProgram(): Promise<void> {
  const program = await makeProgram(process.argv[2]);

  // A reader that had enough (`| head`) is no error. Commands that go on without a reader take the streams over.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });

  try {
    await program.parseAsync();
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode;
    } else {
      process.stderr.write(`virtio-misc: ${error instanceof Error ? error.message : String(error)}\n`);
      if (error instanceof DeviceFileError)
        process.stderr.write(error.detail.map((line) => `    ${printable(line)}\n`).join(''));
      if (process.env.VIRTIO_MISC_DEBUG !== undefined && error instanceof Error)
        process.stderr.write(`${error.stack}\n`);
      process.exitCode = 1;
    }
  }
  // What a device of somebody's own left running, such as a timer, must not keep a program alive that was told to stop.
  if (await endStreams(FLUSH)) process.exit();
}
