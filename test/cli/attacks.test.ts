import assert from 'node:assert/strict';
import type { StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, openSync } from 'node:fs';
import { createConnection } from 'node:net';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { connectVhostUser } from '../../src/connect.js';
import { openDriver } from '../../src/virtio/driver.js';
import { ends, requests, serving, socket } from './servers.js';

for (const [what, stdio] of [
  ['on a full disk', () => ['ignore', openSync('/dev/full', 'w'), openSync('/dev/full', 'w')]],
  ['whose readers do not read', () => ['ignore', 'pipe', 'pipe']],
] as const) {
  test(`a server ${what} serves on, and stops when told`, async () => {
    const child = await serving(['test', '--trace'], stdio() as StdioOptions);
    await requests(1024);
    assert.deepEqual(await ends(child, 'SIGTERM'), [0, null]);
    assert.equal(existsSync(socket), false);
  });
}

test('a server whose readers went serves on, and stops when told', async () => {
  const child = await serving(['test', '--trace'], ['ignore', 'pipe', 'pipe']);
  child.stdout!.destroy();
  child.stderr!.destroy();
  await requests(1024);
  assert.deepEqual(await ends(child, 'SIGTERM'), [0, null]);
  assert.equal(existsSync(socket), false);
});

/** What a server says while `act` goes on, and then to its end. */
async function log(
  args: readonly string[],
  act: (line: (says: RegExp) => Promise<string>) => Promise<void>,
): Promise<string[]> {
  const child = await serving(args);
  const lines: string[] = [];
  let arrived = (): void => {};
  const closed = once(
    createInterface({ input: child.stderr! }).on('line', (text) => {
      lines.push(text);
      arrived();
    }),
    'close',
  );
  await act(async (says) => {
    for (;;) {
      const found = lines.find((text) => says.test(text));
      if (found !== undefined) return found;
      await new Promise<void>((resolve) => {
        arrived = resolve;
      });
    }
  });
  assert.deepEqual(await ends(child, 'SIGTERM'), [0, null]);
  await closed;
  return lines;
}

/** How many lines were shown, and how many there were. */
function counted(lines: readonly string[], says: RegExp): { shown: number; all: number } {
  const messages = lines
    .map((line) => (JSON.parse(line) as { msg: string }).msg)
    .filter((msg) => says.test(msg));
  const more = messages.map((msg) => Number(/\(and (\d+) more\)$/.exec(msg)?.[1] ?? 0));
  return { shown: messages.length, all: messages.length + more.reduce((sum, n) => sum + n, 0) };
}

test('a guest whose buffers are too short does not fill the log; metrics count all', async () => {
  const BUFFERS = 20_000;
  const began = performance.now();
  const lines = await log(['misc', '--quiet', '--metrics', '0'], async (line) => {
    const url = /http:[^"]+/.exec(await line(/metrics at/))![0];
    const driver = await openDriver(await connectVhostUser(socket), {
      id: 70,
      features: 0n,
      queues: 2,
      queueSize: 256,
    });
    const [controlq, notifyq] = driver.queues;
    // SET_TIMER: at once
    await controlq!.request(Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0), 4);
    for (let sent = 0; sent < BUFFERS; sent += 100)
      await Promise.all(Array.from({ length: 100 }, () => notifyq!.request(new Uint8Array(), 3)));
    const text = await (await fetch(url)).text();
    assert.match(text, new RegExp(`^virtio_misc_warnings_total\\{.*\\} ${BUFFERS}$`, 'm'));
    await driver.close();
  });
  const { shown, all } = counted(lines, /a notification needs/);
  assert.equal(all, BUFFERS);
  // Two kinds: those told apart, and those beyond a thousand a second.
  assert.ok(shown <= 12 + 2 * ((performance.now() - began) / 1000 + 1), `${shown} lines`);
});

test('who connects again and again does not fill the log', async () => {
  const CONNECTIONS = 300;
  const began = performance.now();
  const lines = await log(['test'], async () => {
    for (let i = 0; i < CONNECTIONS; i++) {
      const client = createConnection(socket);
      await once(client, 'connect');
      // An unknown message of another protocol: it is dropped.
      client.end(Buffer.alloc(64, 0xff));
      client.resume();
      await once(client, 'close');
    }
  });
  for (const says of [/front-end connected/, /front-end dropped/]) {
    const { shown, all } = counted(lines, says);
    assert.equal(all, CONNECTIONS);
    assert.ok(shown <= 10 + (performance.now() - began) / 1000 + 1, `${shown} lines`);
  }
});

test('a trace of more chains than can be read says how many there were', async () => {
  const lines = await log(['test', '--quiet', '--trace'], () => requests(4096));
  const traced = lines
    .map((line) => JSON.parse(line) as { level: number; msg: string })
    .filter(({ level }) => level === 10);
  const more = traced.map(({ msg }) => Number(/: (\d+) more chains/.exec(msg)?.[1] ?? -1));
  const single = more.filter((count) => count < 0).length;
  assert.equal(single + more.reduce((sum, count) => sum + Math.max(0, count), 0), 4096);
});
