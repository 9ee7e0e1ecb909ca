import { join, relative, resolve } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { shellQuote } from './qemu-args.js';
import { TEMPLATES, type TemplateName, writeStarter } from './starter.js';

interface Options {
  readonly dir: string;
  readonly id?: number;
  readonly template: TemplateName;
}

const TEMPLATE_LIST: string = Object.entries(TEMPLATES)
  .map(([name, { what }]) => `  ${name.padEnd(6)} ${what}`)
  .join('\n');

/** Linux's own drivers by virtio id. */
const LINUX_DRIVERS: Readonly<Record<number, string>> = {
  1: 'virtio_net',
  2: 'virtio_blk',
  3: 'virtio_console',
  4: 'virtio_rng',
  5: 'virtio_balloon',
  8: 'virtio_scsi',
  9: '9pnet_virtio',
  18: 'virtio_input',
  19: 'vmw_vsock_virtio_transport',
  20: 'virtio_crypto',
  26: 'virtiofs',
};

/** `virtio-misc init`: a device to start from. */
export function initCommand(): Command {
  return new Command('init')
    .summary('write a device of your own to start from')
    .description(
      `Writes a working device into a new folder NAME: the device itself (TypeScript), its unit test, a README with the commands to run\nthem, and a Linux driver where Linux has none.\n\nTemplates:\n${TEMPLATE_LIST}`,
    )
    .argument('<name>', 'of the device, such as my-adder')
    .option('--dir <folder>', 'where to make the folder', '.')
    .addOption(
      new Option('--id <id>', "the virtio device id; the template's unless told").argParser(virtioId),
    )
    .addOption(
      new Option('--template <name>', 'what to start from').choices(Object.keys(TEMPLATES)).default('struct'),
    )
    .action((name: string, { dir, id, template }: Options) => {
      const folder = join(resolve(dir), name);
      const files = writeStarter(folder, { name, id, template });
      const place = shellQuote(relative('.', folder) || '.');
      console.log(`${place}: ${files.join(' ')}\n`);
      console.log(`next:  cd ${place} && npm install && npm test`);
      const driver = template === 'struct' && id !== undefined ? LINUX_DRIVERS[id] : undefined;
      if (driver !== undefined)
        console.log(
          `note:  Linux has a driver for id ${id}, ${driver}: you need no ${name}.c, and vm no --module of it`,
        );
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
