import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { closeFd } from './close-fd.js';
import { withFileLock } from './file-lock.js';
import { SocketFile } from './socket-file.js';
import { openSocket, SOCK_STREAM } from './unix-socket.js';

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
});
after(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** A socket file whose owner is gone. */
function abandon(path: string): void {
  const fd = openSocket(SOCK_STREAM);
  SocketFile.bind(fd, path);
  closeFd(fd);
}

const THREADS = 4;
const ROUNDS = 20;

/** In each round all threads start at once, and say how it went. */
const CONTENDER = `
  const { workerData: { modules, folder, state }, parentPort } = require('node:worker_threads');
  (async () => {
    const [{ SocketFile }, { openSocket }, { closeFd }] = await Promise.all(modules.map((m) => import(m)));
    const shared = new Int32Array(state);
    parentPort.postMessage('ready');
    for (let round = 1; round <= ${ROUNDS}; round++) {
      while (Atomics.load(shared, 0) < round);
      const fd = openSocket(1);
      let result;
      try {
        SocketFile.bind(fd, folder + '/' + round);
        result = 'bound';
      } catch (error) {
        result = error.code;
      }
      parentPort.postMessage(result);
      // What is bound stays so until all have tried.
      while (Atomics.load(shared, 1) < round);
      closeFd(fd);
    }
  })();
`;

test('of several that find a stale socket file at once, exactly one has it', async () => {
  const state = new SharedArrayBuffer(8);
  const shared = new Int32Array(state);
  const modules = ['socket-file', 'unix-socket', 'close-fd'].map(
    (name) => new URL(`./${name}.js`, import.meta.url).href,
  );
  const threads = Array.from(
    { length: THREADS },
    () => new Worker(CONTENDER, { eval: true, workerData: { modules, folder, state } }),
  );
  try {
    await Promise.all(threads.map((thread) => once(thread, 'message')));
    for (let round = 1; round <= ROUNDS; round++) {
      const path = join(folder, `${round}`);
      abandon(path);
      const results = Promise.all(threads.map((thread) => once(thread, 'message')));
      Atomics.store(shared, 0, round);
      const won = (await results).map(([result]) => result).sort();
      assert.deepEqual(
        won,
        [...Array.from({ length: THREADS - 1 }, () => 'EADDRINUSE'), 'bound'],
        `round ${round}`,
      );
      assert.equal(existsSync(path), true);
      assert.equal(existsSync(`${path}.lock`), false);
      Atomics.store(shared, 1, round);
    }
  } finally {
    await Promise.all(threads.map((thread) => thread.terminate()));
  }
});

test('a lock that another process keeps is not waited for for ever', () => {
  const path = join(folder, 'kept');
  abandon(path);
  withFileLock(`${path}.lock`, () => {
    const fd = openSocket(SOCK_STREAM);
    assert.throws(() => SocketFile.bind(fd, path), { code: 'EAGAIN', message: /another process keeps it/ });
    closeFd(fd);
  });
  abandon(path);
});
