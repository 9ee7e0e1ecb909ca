import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect as connectTcp } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { connectVhostUser } from '../../src/connect.js';
import { TestDriver } from '../../src/devices/test/driver.js';
import { PageReader } from '../../src/inspector/testing/page-reader.js';
import { MAIN } from '../virtio-misc.js';

/** How long, s: VIRTIO_MISC_SOAK=600 is ten minutes. A moment unless told. */
const SECONDS = Number(process.env.VIRTIO_MISC_SOAK ?? 8);
/** Requests that are under way at a time. */
const DEEP = 64;
/** Looks at memory. */
const LOOKS = 36;
/** What a process may need more of in the last third than in the one before, MiB: after a collection (code is compiled for half a minute), and in all. */
const HEAP = SECONDS < 60 ? 2.5 : 1.5;
const RESIDENT = 24;
/** The young generation does not grow to what a busy engine would take, so that what is resident tells something. */
const ENGINE = ['--expose-gc', '--max-semi-space-size=2', '--import'];

/** What a process needed at a time, MiB. */
interface Need {
  readonly heap: number;
  readonly resident: number;
}

/** The middle one. */
const middle = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;

/** By process: what each that was there all the time needed. */
function needs(file: string): Map<number, Need[]> {
  const all = new Map<number, Need[]>();
  for (const line of readFileSync(file, 'utf8').trim().split('\n')) {
    const [pid, heap, resident] = line.split(' ').map(Number) as [number, number, number];
    all.set(pid, [...(all.get(pid) ?? []), { heap: heap / 2 ** 20, resident: resident / 2 ** 20 }]);
  }
  return all;
}

for (const how of ['in one process', 'with a keeper'] as const) {
  test(`an echo at full speed for ${SECONDS} s, ${how}, with a page that reads and one that never does: memory is flat`, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
    const socket = join(folder, 'test.sock');
    const words = join(folder, 'heap');
    const more = how === 'with a keeper' ? [] : ['--no-keeper'];
    const child = serve(['test', '--vhost-user', socket, '--quiet', '--inspect', ...more], words);
    try {
      const page = await (await PageReader.come(await address(child))).open();
      const { hostname, port } = new URL(page.base);
      const deaf = connectTcp(Number(port), hostname, () => {
        deaf.write(`GET /api/events HTTP/1.1\r\nHost: ${hostname}:${port}\r\nCookie: ${page.cookie}\r\n\r\n`);
        deaf.pause();
      });
      deaf.on('error', () => {});
      const driver = await TestDriver.open(await connectVhostUser(socket));
      let requests = 0;
      const ends = performance.now() + SECONDS * 1000;
      const working = Array.from({ length: DEEP }, async (_, lane) => {
        while (performance.now() < ends) {
          const { ret } = await driver.write(lane);
          assert.equal(ret, lane + 101);
          requests += 1;
          if (requests % 1000 === 0) await new Promise(setImmediate);
        }
      });
      const forgetting = setInterval(() => {
        // What a browser does not keep for ever either.
        page.frames.length = 0;
        page.items.clear();
      }, SECONDS * 10);
      await Promise.all(working);
      clearInterval(forgetting);
      const [state] = page.state.queues!;
      assert.ok(state!.counts.unseen > 0 && state!.counts.taken > requests / 2);
      let seen = 0;
      for (const [pid, its] of needs(words)) {
        if (its.length < LOOKS / 3) continue;
        seen += 1;
        // The first third is for what grows once: compiled code, items up to what is kept.
        const third = Math.floor(its.length / 3);
        const before = of(its.slice(third, 2 * third));
        const after = of(its.slice(2 * third));
        console.log(`${how}, process ${pid}: ${text(before)}, then ${text(after)}`);
        assert.ok(after.heap < before.heap + HEAP, `the heap of ${pid}: ${text(before)}, ${text(after)}`);
        assert.ok(after.resident < before.resident + RESIDENT, `${pid}: ${text(before)}, ${text(after)}`);
      }
      console.log(`${how}: ${requests} requests in ${SECONDS} s`);
      assert.ok(seen >= (how === 'with a keeper' ? 3 : 1), 'its processes told what they need');
      deaf.destroy();
      page.close();
      await driver.close();
    } finally {
      child.kill('SIGKILL');
      rmSync(folder, { recursive: true, force: true });
    }
  });
}

function serve(args: readonly string[], words: string): ChildProcess {
  const said = new URL('./heap-words.js', import.meta.url).href;
  const every = String(Math.round((SECONDS * 1000) / LOOKS));
  return spawn(process.execPath, [...ENGINE, said, MAIN, 'serve', ...args, '--no-watch', '--log', 'json'], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, VIRTIO_MISC_HEAP_WORDS: words, VIRTIO_MISC_HEAP_EVERY: every },
  });
}

/** Where its page is, once it serves. */
function address(child: ChildProcess): Promise<string> {
  let said = '';
  return new Promise((resolve, reject) => {
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      said += text;
      const [found] = /http:[^"]*token=[\w-]+/.exec(said) ?? [];
      if (found !== undefined && said.includes('"serving ')) resolve(found);
    });
    child.once('exit', () => reject(new Error(said)));
  });
}

const of = (some: readonly Need[]): Need => ({
  heap: middle(some.map(({ heap }) => heap)),
  resident: middle(some.map(({ resident }) => resident)),
});

const text = ({ heap, resident }: Need): string =>
  `${heap.toFixed(2)} MiB after a collection, ${resident.toFixed(0)} MiB resident`;
