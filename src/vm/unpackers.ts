import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Apt, whyNoApt } from './apt.js';
import type { Cache } from './cache.js';
import { unpack } from './deb.js';
import { findProgram } from './find-program.js';
import { layOutPrefix, prefixCommand } from './prefix.js';
import type { Progress } from './progress.js';
import { run } from './run.js';
import { VmError } from './vm-error.js';

/** How newer kernels and their modules are packed; Node 20 knows neither. */
export type Packing = 'xz' | 'zstd';

const SUITE = 'bookworm';
const PACKAGES = ['xz-utils', 'zstd'];
const NEEDED = /^(xz-utils|zstd|libc6|libgcc-s1|libstdc\+\+6|liblzma5|liblz4-1|libzstd1|zlib1g)=/;
const RECIPE = { SUITE, PACKAGES, version: 1 };

/** The command that unpacks: the machine's, or Debian's in the cache. */
export async function findUnpacker(
  packing: Packing,
  { cache, progress, signal }: UnpackContext,
): Promise<string[]> {
  const program = findProgram(packing);
  if (program) return [program];
  const impossible = (await cache.find('unpackers', RECIPE)) ? undefined : whyNoApt();
  if (impossible) throw new VmError('HOST', `the kernel is packed with ${packing}, and ${impossible}`);
  const prefix = await cache.entry(
    'unpackers',
    RECIPE,
    (draft) =>
      progress.step('Fetching xz and zstd from Debian', async () => {
        await layOutPrefix(draft);
        await Apt.use(
          draft,
          [SUITE],
          async (apt) => {
            const closure = await apt.closure(PACKAGES, SUITE);
            const debs = await apt.download(closure.filter((exact) => NEEDED.test(exact)));
            for (const deb of debs) await unpack(deb, draft, { except: ['./usr/share/*'], signal });
          },
          signal,
        );
      }),
    signal,
  );
  return prefixCommand(prefix, `usr/bin/${packing}`);
}

export interface UnpackContext {
  readonly cache: Cache;
  readonly progress: Progress;
  readonly signal: AbortSignal | undefined;
}

/** Unpacks files in place: `name.xz` becomes `name`. */
export async function unpackFiles(
  packing: Packing,
  files: readonly string[],
  context: UnpackContext,
): Promise<void> {
  if (files.length === 0) return;
  const [program, ...args] = (await findUnpacker(packing, context)) as [string, ...string[]];
  const options = packing === 'zstd' ? ['--rm'] : [];
  await run(program, [...args, '--decompress', '--quiet', '--force', ...options, ...files], {
    signal: context.signal,
  });
}

/** Unpacks bytes. */
export async function unpackBytes(
  packing: Packing,
  packed: Uint8Array,
  context: UnpackContext,
): Promise<Buffer> {
  const folder = await mkdtemp(path.join(tmpdir(), 'virtio-misc-unpack-'));
  try {
    const file = path.join(folder, 'bytes');
    const packedFile = `${file}.${packing === 'xz' ? 'xz' : 'zst'}`;
    await writeFile(packedFile, packed);
    await unpackFiles(packing, [packedFile], context);
    return await readFile(file);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
