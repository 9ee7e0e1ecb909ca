import { InvalidArgumentError, Option } from 'commander';
import { parameter } from '../virtio/parameter.js';

/** What `<size>` means, for help texts. */
export const SIZE_HELP = '<size> is bytes with a unit of 1024 each: 64K, 512M, 4G, 1T.';

const { parse } = parameter.size('');

/** A `<size>`. @returns bytes */
export function size(text: string): number {
  const bytes = /^\d+[KMGT]$/i.test(text) ? parse(text) : undefined;
  if (bytes === undefined || bytes < 4096)
    throw new InvalidArgumentError('write a size such as 512M, 64G or 4T.');
  return bytes;
}

/** `--max-memory`. */
export function maxMemoryOption(): Option {
  return new Option(
    '--max-memory <size>',
    'memory that a front-end may share, such as 64G; 4T unless told',
  ).argParser(size);
}

/** `--memory`, of a guest. @returns MiB */
export function memoryOption(): Option {
  return new Option('--memory <size>', 'guest memory')
    .argParser((text) => {
      const mebibytes = size(text) / 2 ** 20;
      if (!Number.isInteger(mebibytes))
        throw new InvalidArgumentError('write a whole number of MiB, such as 512M.');
      return mebibytes;
    })
    .default(256, '256M');
}
