/** A changelog that can't be released, and why. */
export class ChangelogError extends Error {
  override readonly name = 'ChangelogError';
}

const HEADING = /^## Unreleased$/m;

/**
 * The changelog with what is unreleased put under a version, and an empty section for what comes next.
 *
 * @param date - such as 2026-01-31.
 * @throws ChangelogError when there is no section `Unreleased`, nothing in it, or the version is there already.
 */
export function release(changelog: string, version: string, date: string): string {
  const heading = HEADING.exec(changelog);
  if (heading === null) throw new ChangelogError('CHANGELOG.md has no section "## Unreleased"');
  if (changelog.includes(`\n## ${version} `)) throw new ChangelogError(`CHANGELOG.md has ${version} already`);
  const after = changelog.slice(heading.index + heading[0].length);
  const section = after.split(/^## /m)[0]!;
  if (!/^- /m.test(section)) throw new ChangelogError('CHANGELOG.md has nothing under "## Unreleased"');
  return `${changelog.slice(0, heading.index)}## Unreleased\n\n## ${version} (${date})${after}`;
}
