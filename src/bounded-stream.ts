import type { Print } from './virtio/monitor.js';

/** UTF-16 units that may wait in the stream. */
const ROOM = 1 << 20;

/**
 * Lines to a stream of Node's, which keeps in memory what nobody reads, up to a limit: of more, only the number is kept, and said when
 * there is room again.
 */
export function boundedStream(stream: () => NodeJS.WriteStream): Print {
  let dropped = 0;
  const full = (): boolean => {
    if (stream().writableLength < ROOM) return false;
    dropped += 1;
    return true;
  };
  const print = (line: string): void => {
    if (dropped > 0) {
      stream().write(`virtio-misc: ${dropped} lines were dropped: nobody read them\n`);
      dropped = 0;
    }
    stream().write(`${line}\n`);
  };
  return Object.assign(print, { full });
}

export const toStdout: Print = boundedStream(() => process.stdout);

const stderr: Print = boundedStream(() => process.stderr);

export function toStderr(line: string, { detail = [] }: { readonly detail?: readonly string[] } = {}): void {
  if (!stderr.full?.()) stderr([line, ...detail.map((more) => `    ${more}`)].join('\n'));
}
