/**
 * `npm run release -- VERSION`: checks that what is here can be released, runs every test, and makes the commit, the tag and the
 * tarball. It sends nothing anywhere: the last lines say how.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { Command } from 'commander';
import { ChangelogError, release } from './changelog.js';

const program = new Command('npm run release --')
  .description('checks, tests, tags and packs a version of this package')
  .argument('<version>', 'such as 0.2.0, higher than the last')
  .option('--no-test', 'take it on trust that every test passes')
  .action(run);
program.parse();

function git(...args: string[]): string {
  return execFileSync('git', args, { encoding: 'utf8' }).trim();
}

/** [major, minor, patch, 0 for a version such as 1.0.0-rc.1 and 1 for a plain one, the part behind the hyphen]. */
function parts(version: string): [number, number, number, number, string] | undefined {
  const match = /^(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.]+))?$/.exec(version);
  if (match === null) return undefined;
  const [, major, minor, patch, early] = match;
  return [Number(major), Number(minor), Number(patch), early === undefined ? 1 : 0, early ?? ''];
}

/** Whether `version` comes after `last`. */
function isHigher(version: string, last: string): boolean {
  const [a, b] = [parts(version)!, parts(last)!];
  const differs = a.findIndex((part, i) => part !== b[i]);
  if (differs === -1) return false;
  return differs === 4 ? a[4].localeCompare(b[4], 'en', { numeric: true }) > 0 : a[differs]! > b[differs]!;
}

/** All that must be so before anything is changed. @returns the new changelog. */
function check(version: string): string {
  const { version: last } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  if (parts(version) === undefined) program.error(`'${version}' is no version: write one such as 0.2.0`);
  if (!isHigher(version, last))
    program.error(`${version} is not higher than ${last}, the version that package.json has`);
  if (git('status', '--porcelain') !== '')
    program.error('there are changes that are not committed: commit them first');
  const branch = git('branch', '--show-current');
  if (branch !== 'main') program.error(`this is branch '${branch}': releases are made from main`);
  if (git('tag', '--list', `v${version}`) !== '') program.error(`there is a tag v${version} already`);
  try {
    return release(readFileSync('CHANGELOG.md', 'utf8'), version, new Date().toISOString().slice(0, 10));
  } catch (error) {
    if (error instanceof ChangelogError) program.error(error.message);
    throw error;
  }
}

function run(version: string, { test }: { test: boolean }): void {
  const changelog = check(version);
  if (test) {
    try {
      execFileSync('npm', ['test'], { stdio: 'inherit' });
    } catch {
      program.error('the tests fail: nothing was changed');
    }
  }
  execFileSync('npm', ['version', version, '--no-git-tag-version'], { stdio: 'ignore' });
  writeFileSync('CHANGELOG.md', changelog);
  git('commit', '--quiet', '--all', '--message', `Release ${version}`);
  git('tag', '--annotate', `v${version}`, '--message', `virtio-misc ${version}`);
  const packed = execFileSync('npm', ['pack', '--json'], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  // A build may print before it.
  const [{ filename }] = JSON.parse(packed.slice(packed.search(/^\[/m))) as [{ filename: string }];
  const sum = createHash('sha256').update(readFileSync(filename)).digest('hex');
  console.log(`v${version} is committed and tagged; ${filename} has SHA-256 ${sum}`);
  console.log(`next:  git push --follow-tags && npm publish ${filename}`);
}
