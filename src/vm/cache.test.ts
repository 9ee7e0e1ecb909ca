import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Cache } from './cache.js';
import { run } from './run.js';

let folder: string;
before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'virtio-misc-cache-'));
});
after(() => rm(folder, { recursive: true }));

const fresh = async (): Promise<Cache> => new Cache(await mkdtemp(path.join(folder, 'c-')));
const entries = async (cache: Cache): Promise<string[]> =>
  (await readdir(cache.folder)).filter((name) => !name.endsWith('.lock'));

/**
 * A process that makes the entry `thing`: each build adds a line to a log, says `building` and goes on when told so by a line
 * on its input. It says `done` in the end.
 */
function maker(cache: Cache, log: string): ChildProcess & { says(word: string): Promise<void> } {
  const script = `
    import { Cache } from ${JSON.stringify(new URL('./cache.js', import.meta.url).href)};
    import { appendFileSync, writeFileSync } from 'node:fs';
    import { once } from 'node:events';
    const entry = await new Cache(${JSON.stringify(cache.folder)}).entry('thing', 1, async (draft) => {
      appendFileSync(${JSON.stringify(log)}, 'built\\n');
      writeFileSync(draft + '/half', '');
      console.log('building');
      await once(process.stdin, 'data');
      writeFileSync(draft + '/whole', 'content');
    });
    console.log('done');
    process.exit();`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    said += piece;
    child.emit('said');
  });
  const says = async (word: string): Promise<void> => {
    while (!said.includes(word)) await once(child, 'said');
  };
  return Object.assign(child, { says });
}

/** Until a process waits for the entry's lock, as the kernel's list of locks has it. */
async function someoneWaits(cache: Cache): Promise<void> {
  const { ino } = await stat(path.join(cache.folder, 'thing.lock'));
  const waiting = new RegExp(`-> FLOCK .*:${ino} `);
  while (!waiting.test(await readFile('/proc/locks', 'utf8'))) await sleep(10);
}

test('an entry is built once, and found afterwards', async () => {
  const cache = await fresh();
  let builds = 0;
  const build = async (draft: string): Promise<void> => {
    builds++;
    await writeFile(path.join(draft, 'file'), 'x');
  };
  assert.equal(await cache.find('thing', { a: 1 }), undefined);
  const entry = await cache.entry('thing', { a: 1 }, build);
  assert.equal(await cache.entry('thing', { a: 1 }, build), entry);
  assert.equal(await cache.find('thing', { a: 1 }), entry);
  assert.equal(builds, 1);
  assert.notEqual(await cache.entry('thing', { a: 2 }, build), entry);
  assert.equal(builds, 2);
});

test('a build that fails leaves nothing, and its error is the caller’s', async () => {
  const cache = await fresh();
  const failing = cache.entry('thing', 1, async (draft) => {
    await writeFile(path.join(draft, 'half'), '');
    throw new Error('no more');
  });
  await assert.rejects(failing, /^Error: no more$/);
  assert.deepEqual(await entries(cache), []);
});

test('two processes that want the same entry build it once', async () => {
  const cache = await fresh();
  const log = path.join(folder, 'twice.log');
  const makers = [maker(cache, log), maker(cache, log)];
  await Promise.race(makers.map((one) => one.says('building')));
  await someoneWaits(cache);
  // Only the one that builds reads its input; the other finds the entry.
  for (const one of makers) one.stdin?.write('go\n');
  await Promise.all(makers.map((one) => one.says('done')));
  assert.equal(await readFile(log, 'utf8'), 'built\n');
  assert.deepEqual((await readdir((await cache.find('thing', 1))!)).sort(), ['half', 'whole']);
});

test('a process that is killed while it builds leaves no half entry and no lock', async () => {
  const cache = await fresh();
  const log = path.join(folder, 'killed.log');
  const victim = maker(cache, log);
  await victim.says('building');
  const waiting = maker(cache, log);
  await someoneWaits(cache);
  victim.kill('SIGKILL');
  await waiting.says('building');
  assert.equal(await cache.find('thing', 1), undefined);
  waiting.stdin?.write('go\n');
  await waiting.says('done');
  assert.equal(await readFile(log, 'utf8'), 'built\nbuilt\n');
  assert.deepEqual(await entries(cache), [path.basename(cache.path('thing', 1))]);
});

test('an abort ends a build, and the wait for another’s build', async () => {
  const cache = await fresh();
  const other = maker(cache, path.join(folder, 'abort.log'));
  await other.says('building');
  const stopper = new AbortController();
  const waiting = cache.entry('thing', 1, async () => assert.fail('built too'), stopper.signal);
  stopper.abort();
  await assert.rejects(waiting, { code: 'ABORTED' });
  other.stdin?.write('go\n');
  await other.says('done');

  const second = new AbortController();
  const building = cache.entry(
    'other',
    1,
    async () => {
      const sleeping = run('sleep', ['1000'], { signal: second.signal });
      second.abort();
      await sleeping;
    },
    second.signal,
  );
  await assert.rejects(building, { code: 'ABORTED' });
  assert.deepEqual(await entries(cache), [path.basename(cache.path('thing', 1))]);
});

test('entries that fell out of use go when another of their name is made', async () => {
  const cache = await fresh();
  const make = (name: string, recipe: number): Promise<string> => cache.entry(name, recipe, async () => {});
  const [old, other, used] = [await make('thing', 1), await make('thing-else', 1), await make('thing', 2)];
  const longAgo = new Date(Date.now() - 31 * 24 * 3600 * 1000);
  for (const entry of [old, other, used]) await utimes(entry, longAgo, longAgo);
  await make('thing', 2);
  await make('thing', 3);
  assert.deepEqual([old, other, used].map(existsSync), [false, true, true]);
});

test('the cache is where XDG says, or where the user says', () => {
  assert.equal(Cache.ofUser({ HOME: '/home/a' }).folder, '/home/a/.cache/virtio-misc');
  assert.equal(Cache.ofUser({ HOME: '/home/a', XDG_CACHE_HOME: '/c' }).folder, '/c/virtio-misc');
  assert.equal(Cache.ofUser({ HOME: '/home/a', XDG_CACHE_HOME: 'c' }).folder, '/home/a/.cache/virtio-misc');
  assert.equal(
    Cache.ofUser({ HOME: '/home/a', XDG_CACHE_HOME: '/c', VIRTIO_MISC_CACHE: '/d/e' }).folder,
    '/d/e',
  );
});

test('a place that can’t be a cache is refused with its name', async () => {
  await assert.rejects(
    new Cache('/dev/null/here').entry('thing', 1, async () => {}),
    /VIRTIO_MISC_CACHE/,
  );
  await assert.rejects(
    new Cache(path.join(folder, 'a b')).entry('thing', 1, async () => {}),
    /blanks/,
  );
});
