import { InvalidArgumentError, Option } from 'commander';

const UNITS: Record<string, number> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/** `--max-memory`, written as QEMU writes sizes. */
export function maxMemoryOption(): Option {
  return new Option(
    '--max-memory <size>',
    'memory that a front-end may share, such as 64G; 4T unless told',
  ).argParser((text) => {
    const [, digits, unit] = /^(\d+)([KMGT]?)$/i.exec(text) ?? [];
    const size = Number(digits) * (UNITS[unit?.toUpperCase() ?? ''] ?? 1);
    if (!(size >= 4096 && Number.isSafeInteger(size))) {
      throw new InvalidArgumentError('write a size such as 512M, 64G or 4T.');
    }
    return size;
  });
}
