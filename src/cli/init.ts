import { join, relative, resolve } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { shellQuote } from './qemu-args.js';
import { writeStarter } from './starter.js';

interface Options {
  readonly dir: string;
  readonly id: number;
}

/** `virtio-misc init`: a device to start from. */
export function initCommand(): Command {
  return new Command('init')
    .summary('write a device of your own to start from')
    .description(
      'Writes a working device into a new folder NAME: the device itself (TypeScript), its unit test, a Linux driver for it, and a README\nwith the commands to run them.',
    )
    .argument('<name>', 'of the device, such as my-adder')
    .option('--dir <folder>', 'where to make the folder', '.')
    .addOption(new Option('--id <id>', 'the virtio device id').argParser(virtioId).default(60))
    .action((name: string, { dir, id }: Options) => {
      const folder = join(resolve(dir), name);
      const files = writeStarter(folder, { name, id });
      const place = shellQuote(relative('.', folder) || '.');
      console.log(`${place}: ${files.join(' ')}\n`);
      console.log(`next:  cd ${place} && npm install && npm test`);
      console.log('then:  README.md has the command that boots Linux with it');
    });
}

function virtioId(text: string): number {
  const id = Number(text);
  if (!/^\d+$/.test(text) || id < 1 || id > 0xffff) {
    throw new InvalidArgumentError('write a whole number from 1 to 65535.');
  }
  return id;
}
