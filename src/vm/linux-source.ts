import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { Apt, whyNoApt } from './apt.js';
import { unpack } from './deb.js';
import { run } from './run.js';
import { findUnpacker, type UnpackContext } from './unpackers.js';
import { VmError } from './vm-error.js';

/** Debian's packages of kernel sources, by version. The newest is whatever the unstable suite has. */
const PACKAGES = {
  '6.12': { suite: 'trixie', name: 'linux-source-6.12' },
  newest: { suite: 'sid', name: 'linux-source' },
} as const;
export type SourceVersion = keyof typeof PACKAGES;

/** The archive of a kernel's source, as Debian has it, in the cache. */
export async function findLinuxSource(version: SourceVersion, context: UnpackContext): Promise<string> {
  const { cache, progress, signal } = context;
  const { suite, name } = PACKAGES[version];
  const recipe = { suite, name, version: 1 };
  const impossible = (await cache.find('linux-source', recipe)) ? undefined : whyNoApt();
  if (impossible)
    throw new VmError('HOST', `Linux's source can't be fetched: ${impossible}; run this on Debian`);
  const folder = await cache.entry(
    'linux-source',
    recipe,
    (draft) =>
      progress.step(`Fetching ${name} from Debian`, () =>
        Apt.use(
          draft,
          [suite],
          async (apt) => {
            const closure = await apt.closure([name], suite);
            const debs = await apt.download(closure.filter((exact) => /^linux-source-\d[^=]*=/.test(exact)));
            for (const deb of debs) await unpack(deb, draft, { anyOf: ['./usr/src/*.tar.xz'], signal });
          },
          signal,
        ),
      ),
    signal,
  );
  const [archive] = await readdir(path.join(folder, 'usr/src'));
  return path.join(folder, 'usr/src', archive!);
}

/** Unpacks a kernel's source; the folder's content is the tree. */
export async function unpackLinuxSource(
  archive: string,
  folder: string,
  context: UnpackContext,
): Promise<void> {
  const { signal } = context;
  // Where tar finds no xz of the machine's.
  const unpacker = await findUnpacker('xz', context);
  await run(
    'tar',
    [
      '--extract',
      '--file',
      archive,
      '--directory',
      folder,
      '--strip-components=1',
      `--use-compress-program=${unpacker.join(' ')}`,
    ],
    { signal },
  );
}
