import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { access, mkdir, mkdtemp, readdir, rename, rm, stat, statfs, utimes } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';
import { withLock } from './lock.js';
import { VmError } from './vm-error.js';

/** An entry that nobody used for so long is removed, in milliseconds. */
const KEEP = 30 * 24 * 3600 * 1000;

/**
 * Folders that are expensive to make and are made once. An entry is there whole or not at all: it is built under another
 * name and renamed into place. Processes that want the same entry wait for the one that builds it.
 */
export class Cache {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  /** `VIRTIO_MISC_CACHE`, or `virtio-misc` in the user's cache folder (XDG base directories). */
  static ofUser(env: NodeJS.ProcessEnv = process.env): Cache {
    // The XDG specification has relative paths ignored.
    const xdg = env.XDG_CACHE_HOME;
    const base = xdg && path.isAbsolute(xdg) ? xdg : path.join(env.HOME || homedir(), '.cache');
    return new Cache(path.resolve(env.VIRTIO_MISC_CACHE || path.join(base, 'virtio-misc')));
  }

  /** Where the entry is, whether it is there or not. */
  path(name: string, recipe: unknown): string {
    const key = createHash('sha256').update(JSON.stringify(recipe)).digest('hex').slice(0, 16);
    return path.join(this.folder, `${name}-${key}`);
  }

  /** The entry's folder, when it has been made. */
  async find(name: string, recipe: unknown): Promise<string | undefined> {
    const entry = this.path(name, recipe);
    return (await isFolder(entry)) ? entry : undefined;
  }

  /**
   * The folder of an entry, made now if it has to be.
   *
   * @param name - lower case and hyphens; also names the lock, so that entries of one name are made one at a time.
   * @param recipe - everything the content depends on (JSON).
   * @param build - fills the folder it is given. What it leaves behind when it throws is removed.
   */
  async entry(
    name: string,
    recipe: unknown,
    build: (folder: string) => Promise<void>,
    signal?: AbortSignal,
  ): Promise<string> {
    const entry = this.path(name, recipe);
    if (await used(entry)) return entry;
    if (/[\s:"]/.test(this.folder)) {
      // Neither make nor apt's lists of sources can name such a place.
      throw new VmError(
        'HOST',
        `${this.folder}: blanks, colons and quotes won't do; set VIRTIO_MISC_CACHE to another folder`,
      );
    }
    await mkdir(this.folder, { recursive: true }).catch((error: Error) => {
      throw new VmError('HOST', `can't make the cache folder: ${error.message}; ${ELSEWHERE}`);
    });
    const unusable = await whyUnusable(this.folder);
    if (unusable) throw new VmError('HOST', `${unusable}; ${ELSEWHERE}`);
    await withLock(
      path.join(this.folder, `${name}.lock`),
      async () => {
        if (await used(entry)) return;
        await this.#sweep(name);
        const draft = await mkdtemp(path.join(this.folder, `${draftOf(name)}`));
        try {
          await build(draft);
          // Unpacking archives gives folders the archive's times, and ours counts as the time of last use.
          const now = new Date();
          await utimes(draft, now, now);
          await rename(draft, entry);
        } catch (error) {
          // What the programs say that ran out of room says it in a page of lines.
          const full =
            error instanceof VmError && error.code === 'ABORTED' ? undefined : await whyFull(this.folder);
          await rm(draft, { recursive: true, force: true });
          throw full === undefined ? error : new VmError('HOST', `${full}; ${ELSEWHERE}`, { cause: error });
        }
      },
      signal,
    );
    return entry;
  }

  /** With the lock held: removes what interrupted builds left, and entries of this name that fell out of use. */
  async #sweep(name: string): Promise<void> {
    for (const found of await readdir(this.folder)) {
      const whole = path.join(this.folder, found);
      const isEntry = found.startsWith(`${name}-`) && /^[0-9a-f]{16}$/.test(found.slice(name.length + 1));
      const unused = isEntry && Date.now() - (await stat(whole)).mtimeMs > KEEP;
      if (unused || found.startsWith(draftOf(name)))
        await rm(whole, { recursive: true, force: true, maxRetries: 3 });
    }
  }
}

const ELSEWHERE = 'VIRTIO_MISC_CACHE names another folder for what is fetched and built';

/** Bytes without which a build is taken to have failed for want of room. */
const LEFT = 4e6;

/** Whether there is no room left, in one line. */
async function whyFull(folder: string): Promise<string | undefined> {
  const { bavail, bsize, ffree, files } = await statfs(folder);
  if (bavail * bsize >= LEFT && (files === 0 || ffree > 0)) return undefined;
  return `there was no room left in ${folder}`;
}

/** Why nothing can be written to a folder that is there; in one line. */
export async function whyUnusable(folder: string): Promise<string | undefined> {
  try {
    await access(folder, constants.W_OK | constants.X_OK);
    return undefined;
  } catch (error) {
    const why =
      (error as NodeJS.ErrnoException).code === 'EROFS'
        ? 'its file system is read-only'
        : 'this user may not';
    return `nothing can be written to ${folder}: ${why}`;
  }
}

const draftOf = (name: string): string => `.${name}.draft-`;

async function isFolder(folder: string): Promise<boolean> {
  return stat(folder).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

/** Notes that an entry is in use; false when there is none. */
async function used(entry: string): Promise<boolean> {
  const now = new Date();
  return utimes(entry, now, now).then(
    () => true,
    async () => isFolder(entry),
  );
}
