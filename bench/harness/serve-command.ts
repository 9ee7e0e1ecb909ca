import { fileURLToPath } from 'node:url';
import { serveCommand as declared } from '../../src/cli/serve.js';

const COMMAND_LINE = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));

/** What has the command run a device in one process, where that is not what it does unless told. */
const ALONE = declared().options.some(({ long }) => long === '--no-keeper') ? ['--no-keeper'] : [];

/** `virtio-misc serve` for a device, which prints nothing: in one process, or with a keeper if `--keeper` is among its options. */
export function serveCommand(device: string, ...options: string[]): string[] {
  const keeper = options.includes('--keeper') ? [] : ALONE;
  return [process.execPath, COMMAND_LINE, 'serve', device, '--quiet', '--no-watch', ...keeper, ...options];
}
