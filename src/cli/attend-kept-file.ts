import { FileWatcher, hashNow } from '../device-file/file-watcher.js';
import type { LookedAt } from '../keeper/frames.js';
import type { Reloaded } from '../keeper/keeper/worker-process.js';
import type { Attendance } from './attend-file.js';
import { checkTypes } from './attend-file.js';
import type { Logger } from './log.js';

/** Whose processes load a device's file. */
export interface Reloading {
  /** What the first one looked at. */
  readonly files: LookedAt;
  reload(): Promise<Reloaded>;
}

/**
 * Looks after a device's file that other processes serve: after each save they load it, and one of them says what came of that; its types are checked
 * in the background.
 *
 * @param path - the file's.
 * @returns ends that.
 */
export function attendKeptFile(
  path: string,
  keeper: Reloading,
  log: Logger,
  { watch, typeCheck, reloaded = () => {} }: Attendance,
): () => void {
  const lines = log.child({ file: path });
  const check = typeCheck ? checkTypes(path, lines) : undefined;
  const files = new Map<string, string | undefined>();
  const note = (looked: LookedAt): void => {
    for (const [file, hash] of looked) files.set(file, hash ?? undefined);
  };
  note(keeper.files);
  let closed = false;
  let loading = false;
  const reload = async (): Promise<void> => {
    if (loading) return;
    loading = true;
    // Code that kills who loads it is tried once.
    for (const file of files.keys()) files.set(file, hashNow(file) ?? files.get(file));
    const { result, files: looked, why } = await keeper.reload();
    loading = false;
    if (closed) return;
    if (why !== undefined) lines.error(`not reloaded, the old device goes on: ${why}`);
    note(looked);
    reloaded(result);
    // Of code that does not run, what kept it from that was said.
    if (result === 'failed') check?.close();
    else check?.start();
    watcher?.look();
  };
  const watcher = watch ? new FileWatcher(files, () => void reload()) : undefined;
  check?.start();
  return () => {
    closed = true;
    watcher?.close();
    check?.close();
  };
}
