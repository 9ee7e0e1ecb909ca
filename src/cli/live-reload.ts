import type { DeviceFile } from '../device-file/device-file.js';
import type { DeviceFileError } from '../device-file/device-file-error.js';
import { explainError } from '../device-file/explain-error.js';
import { FileWatcher } from '../device-file/file-watcher.js';
import type { ReloadResult } from '../keeper/frames.js';
import type { Server } from '../serve.js';
import type { MakeDevice } from '../virtio/make-device.js';
import type { Logger } from './log.js';

/**
 * Replaces what a server serves whenever the device's file, or one that it imports, is saved. Whatever goes wrong with the new code is
 * logged with the code there, and the old code goes on.
 *
 * @returns ends it.
 */
export function reloadOnSave(
  file: DeviceFile,
  server: Server,
  log: Logger,
  reloaded: (result: ReloadResult) => void = () => {},
): () => void {
  const lines = log.child({ file: file.path });
  let closed = false;
  let loading = false;
  const reload = async (): Promise<void> => {
    if (loading) return;
    loading = true;
    try {
      const make = await file.load();
      if (!closed) reloaded(replace(server, make, lines));
    } catch (error) {
      sayFailed(error, lines);
      reloaded('failed');
    }
    loading = false;
    // For what was saved meanwhile, and for files that were not known before.
    if (!closed) watcher.look();
  };
  const watcher = new FileWatcher(file.files, () => void reload());
  return () => {
    closed = true;
    watcher.close();
  };
}

/** Says that code could not be loaded. */
export function sayFailed(error: unknown, log: Logger): void {
  const { message, detail = [] } = error as Partial<DeviceFileError>;
  log.error({ detail }, `not reloaded, the old device goes on: ${message}`);
}

/**
 * Replaces what a server serves, and says what came of that.
 *
 * @throws what `make` throws; nothing is changed then.
 */
export function replace(server: Pick<Server, 'replace'>, make: MakeDevice, log: Logger): ReloadResult {
  const done = server.replace(make);
  let result: ReloadResult = 'reloaded';
  for (const { socket, error } of done) {
    if (error === undefined) {
      log.info({ socket }, 'reloaded; the front-end stays');
      continue;
    }
    const refused = error.name === 'ReplaceError';
    if (result !== 'failed') result = refused ? 'refused' : 'failed';
    const detail = refused ? [] : (explainError(error)?.lines ?? []);
    log.error({ socket, detail }, `not reloaded, the old device goes on: ${error.message}`);
  }
  if (done.length === 0) log.info('reloaded');
  return result;
}
