import { Apt } from '../../src/vm/apt.js';
import { Cache } from '../../src/vm/cache.js';
import { unpack } from '../../src/vm/deb.js';
import { layOutPrefix } from '../../src/vm/prefix.js';
import { progressTo } from '../../src/vm/progress.js';

/** Debian 13, and what was made for it later: where QEMU comes from too. */
const SUITES = ['trixie', 'trixie-backports'];
const EXCEPT = ['./usr/share/man/*', './usr/share/locale/*', './etc/*', './usr/lib/*/gconv/*'];

/** What a foreign program is made of. */
export interface Foreign {
  /** Names the entry of the cache. */
  readonly name: string;
  readonly packages: readonly string[];
  /** Of all that these packages want, as `NAME=VERSION`, what is used; all of it unless told. */
  readonly needed?: RegExp;
  /** Makes more of what was unpacked, once. */
  readonly build?: (prefix: string) => Promise<void>;
  /** Grows with each change of `build`. */
  readonly version: number;
}

/** A program that nobody here wrote, unpacked from Debian into the cache. @returns its prefix. */
export function foreign({ name, packages, needed = /./, build, version }: Foreign): Promise<string> {
  const progress = progressTo(process.stderr, { plain: true });
  const recipe = { SUITES, EXCEPT, packages, needed: needed.source, version };
  return Cache.ofUser().entry(name, recipe, (draft) =>
    progress.step(`Fetching ${packages.join(', ')} from Debian`, async () => {
      await layOutPrefix(draft);
      await Apt.use(draft, SUITES, async (apt) => {
        const closure = await apt.closure(packages, SUITES.at(-1)!);
        for (const deb of await apt.download(closure.filter((exact) => needed.test(exact)))) {
          await unpack(deb, draft, { except: EXCEPT });
        }
      });
      await build?.(draft);
    }),
  );
}
