import { type FSWatcher, readFileSync, watch } from 'node:fs';
import { dirname } from 'node:path';
import { hashOf } from './module-source.js';

/** ms of quiet after which files are looked at: an editor's save is several events. */
const QUIET = 50;

/**
 * Tells when any of a set of files is not what it was. It is their folders that are watched: an editor may write into a file, or put a
 * new one in its place. A save that changes nothing is not told, nor is a file that is gone until it is back.
 */
export class FileWatcher {
  readonly #files: ReadonlyMap<string, string | undefined>;
  readonly #changed: () => void;
  readonly #folders = new Map<string, FSWatcher>();
  #timer: NodeJS.Timeout | undefined;

  /**
   * @param files - each with the hash of what it was, or `undefined` when it was not there. Read again at each look.
   * @param changed - called at each look at which one differs.
   */
  constructor(files: ReadonlyMap<string, string | undefined>, changed: () => void) {
    this.#files = files;
    this.#changed = changed;
    this.look();
  }

  /** Looks soon: `files` may have grown, or changed before they were watched. */
  look(): void {
    clearTimeout(this.#timer);
    for (const path of this.#files.keys()) this.#watch(dirname(path));
    this.#timer = setTimeout(() => {
      for (const [path, hash] of this.#files) {
        const now = hashNow(path);
        if (now === undefined || now === hash) continue;
        this.#changed();
        return;
      }
    }, QUIET);
  }

  close(): void {
    clearTimeout(this.#timer);
    for (const watcher of this.#folders.values()) watcher.close();
    this.#folders.clear();
  }

  #watch(folder: string): void {
    if (this.#folders.has(folder)) return;
    try {
      const watcher = watch(folder, () => this.look());
      // A folder that is removed is watched again when a file in it is named again.
      watcher.on('error', () => {
        watcher.close();
        this.#folders.delete(folder);
      });
      this.#folders.set(folder, watcher);
    } catch {
      // The folder of a file that is missing may be missing too.
    }
  }
}

/** Of what is in a file now; `undefined` when it is not there. */
export function hashNow(path: string): string | undefined {
  try {
    return hashOf(readFileSync(path));
  } catch {
    return undefined;
  }
}
