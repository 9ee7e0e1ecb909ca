import { fileURLToPath } from 'node:url';

const COMMAND_LINE = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

/** `virtio-misc serve` for a device, which prints nothing: in one process, or with a keeper if `--keeper` is among its options. */
export function serveCommand(device: string, ...options: string[]): string[] {
  const alone = options.includes('--keeper') ? [] : ['--no-keeper'];
  return [process.execPath, COMMAND_LINE, 'serve', device, '--quiet', '--no-watch', ...alone, ...options];
}
