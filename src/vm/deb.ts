import { mkdir } from 'node:fs/promises';
import { run, runPiped } from './run.js';

export interface UnpackOptions {
  /** Shell patterns of paths, which begin with `./`; everything when absent. */
  readonly only?: readonly string[];
  /** The same, for patterns of which some may match nothing; a package without any match is not unpacked. */
  readonly anyOf?: readonly string[];
  readonly except?: readonly string[];
  readonly signal?: AbortSignal | undefined;
}

/** Unpacks a Debian package's files into a folder, without installing anything. */
export async function unpack(
  deb: string,
  folder: string,
  { only = [], anyOf, except = [], signal }: UnpackOptions = {},
): Promise<void> {
  await mkdir(folder, { recursive: true });
  // Given a pattern that matches nothing, tar fails.
  const wanted = anyOf ? await matching(deb, anyOf, signal) : only;
  if (anyOf && wanted.length === 0) return;
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
    ...wanted,
  ];
  await runPiped(['dpkg-deb', ['--fsys-tarfile', deb]], ['tar', tar], { signal });
}

async function matching(
  deb: string,
  patterns: readonly string[],
  signal: AbortSignal | undefined,
): Promise<string[]> {
  const regExps = patterns.map(
    (pattern) => new RegExp(`^${pattern.replace(/[.+^$()|[\]\\]/g, '\\$&').replaceAll('*', '.*')}$`),
  );
  // As ls prints them: regular files only, without blanks in their names.
  const listed = await run('dpkg-deb', ['--contents', deb], { signal });
  const files = listed
    .split('\n')
    .filter((line) => line.startsWith('-'))
    .map((line) => line.split(/\s+/)[5]!);
  return files.filter((file) => regExps.some((regExp) => regExp.test(file)));
}
