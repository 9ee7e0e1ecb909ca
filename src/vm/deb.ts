import { mkdir } from 'node:fs/promises';
import { runPiped } from './run.js';

export interface UnpackOptions {
  /** Shell patterns of paths, which begin with `./`; everything when absent. */
  readonly only?: readonly string[];
  readonly except?: readonly string[];
  readonly signal?: AbortSignal | undefined;
}

/** Unpacks a Debian package's files into a folder, without installing anything. */
export async function unpack(
  deb: string,
  folder: string,
  { only = [], except = [], signal }: UnpackOptions = {},
): Promise<void> {
  await mkdir(folder, { recursive: true });
  const tar = [
    '--extract',
    '--directory',
    folder,
    // Packages older than the merge of / and /usr put files into /lib, which is a link in our prefixes.
    '--keep-directory-symlink',
    // As root, tar would otherwise restore owners and set-uid bits.
    '--no-same-owner',
    '--no-same-permissions',
    '--wildcards',
    ...except.map((pattern) => `--exclude=${pattern}`),
    ...only,
  ];
  await runPiped(['dpkg-deb', ['--fsys-tarfile', deb]], ['tar', tar], { signal });
}
