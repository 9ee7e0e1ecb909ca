import assert from 'node:assert/strict';

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect as connectTcp } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { connectVhostUser } from '../../src/connect.js';
import { TestDriver } from '../../src/devices/test/driver.js';
import { PageReader } from '../../src/inspector/testing/page-reader.js';
import { start } from '../virtio-misc.js';

/** How long, s: VIRTIO_MISC_SOAK=600 is ten minutes. A moment unless told. */
const SECONDS = Number(process.env.VIRTIO_MISC_SOAK ?? 6);
/** Requests that are under way at a time. */
const DEEP = 64;
/** What memory may differ by between two looks, MiB: the heap of an engine that is busy comes and goes. */
const SLACK = 64;

const mebibytes = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024;

/** The middle one. */
const middle = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;

test(`an echo at full speed for ${SECONDS} s, with a page that reads and one that never does: memory is flat`, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  const socket = join(folder, 'test.sock');
  const child = start([
    'serve',
    'test',
    '--vhost-user',
    socket,
    '--quiet',
    '--no-watch',
    '--log',
    'json',
    '--inspect',
  ]);
  try {
    let said = '';
    const url = await new Promise<string>((resolve) => {
      child.stderr!.setEncoding('utf8').on('data', (text: string) => {
        said += text;
        const found = /http:[^"]*token=[\w-]+/.exec(said);
        if (found !== null) resolve(found[0]);
      });
    });
    const page = await (await PageReader.come(url)).open();
    const { hostname, port } = new URL(url);
    const deaf = connectTcp(Number(port), hostname, () => {
      deaf.write(`GET /api/events HTTP/1.1\r\nHost: ${hostname}:${port}\r\nCookie: ${page.cookie}\r\n\r\n`);
      deaf.pause();
    });
    deaf.on('error', () => {});
    const driver = await TestDriver.open(await connectVhostUser(socket));
    const sizes: number[] = [];
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
    const looking = setInterval(() => {
      sizes.push(mebibytes(child.pid!));
      // What a browser does not keep for ever either.
      page.frames.length = 0;
      page.items.clear();
    }, SECONDS * 10);
    await Promise.all(working);
    clearInterval(looking);
    const [state] = page.state.queues!;
    assert.ok(state!.counts.unseen > 0 && state!.counts.taken > requests / 2);
    // The first third is for what grows once: compiled code, items up to what is kept.
    const third = Math.floor(sizes.length / 3);
    const before = middle(sizes.slice(third, 2 * third));
    const after = middle(sizes.slice(2 * third));
    console.log(
      `${requests} requests in ${SECONDS} s; ${before.toFixed(0)} MiB, then ${after.toFixed(0)} MiB`,
    );
    assert.ok(after < before + SLACK, `${before} MiB grew to ${after} MiB`);
    deaf.destroy();
    page.close();
    await driver.close();
  } finally {
    child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
});
