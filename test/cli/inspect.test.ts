import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { connectVhostUser } from '../../src/connect.js';
import { TestDriver } from '../../src/devices/test/driver.js';
import { PageReader } from '../../src/inspector/testing/page-reader.js';
import { start } from '../virtio-misc.js';

let folder: string;
let socket: string;
const children: ChildProcess[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  socket = join(folder, 'device.sock');
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

/** Starts a command that prints the address of its page, on either stream. */
async function inspecting(
  ...args: string[]
): Promise<{ child: ChildProcess; url: string; said: () => string }> {
  const child = start(args);
  children.push(child);
  let said = '';
  const url = await new Promise<string>((resolve, reject) => {
    const hear = (text: string): void => {
      said += text;
      const [found] = /http:\/\/[\d.]+:\d+\/\?token=[\w-]+/.exec(said) ?? [];
      if (found !== undefined) resolve(found);
    };
    child.stdout!.setEncoding('utf8').on('data', hear);
    child.stderr!.setEncoding('utf8').on('data', hear);
    child.once('close', () => reject(new Error(`it ended: ${said}`)));
  });
  return { child, url, said: () => said };
}

test('serve --inspect: a page sees what a front-end does, holds it, and hears that the process ends', async () => {
  const args = ['test', '--vhost-user', socket, '--quiet', '--no-watch', '--log', 'json'];
  const { child, url } = await inspecting('serve', ...args, '--inspect');
  assert.equal(new URL(url).hostname, '127.0.0.1');
  const page = await (await PageReader.come(url)).open();
  const driver = await TestDriver.open(await connectVhostUser(socket));
  await page.until(() => page.state.connections?.[0]?.life === 'running');
  await page.command({ command: 'hold', connection: 1 });
  const answer = driver.write(77);
  const hold = await page.until(() => page.state.holds?.find(({ next }) => next !== undefined));
  assert.match(hold.next!.text, /^type 77/);
  await page.command({ command: 'release' });
  assert.equal((await answer).ret, 178);
  await driver.close();
  child.kill('SIGINT');
  const [code] = await once(child, 'exit');
  assert.equal(code, 0);
  assert.match(await page.until(() => page.bye), /ends/);
});

test('a device that is held when the process is told to stop does not keep it', async () => {
  const args = ['test', '--vhost-user', socket, '--quiet', '--no-watch', '--log', 'json'];
  const { child, url } = await inspecting('serve', ...args, '--inspect', '0');
  const page = await (await PageReader.come(url)).open();
  const driver = await TestDriver.open(await connectVhostUser(socket));
  await page.until(() => page.state.connections?.length === 1);
  await page.command({ command: 'hold', connection: 1 });
  const lost = driver.write(1).catch((error: unknown) => error);
  await page.until(() => page.state.holds?.[0]?.waiting === 1);
  child.kill('SIGTERM');
  assert.deepEqual(await once(child, 'exit'), [0, null]);
  await lost;
  await driver.close().catch(() => {});
});

test('inspect FILE: what was recorded, also where the file is cut', async () => {
  const file = join(folder, 'a.pcapng');
  const args = ['test', '--vhost-user', socket, '--quiet', '--no-watch', '--log', 'json'];
  // Both at a time: each hears of it all.
  const { child, url } = await inspecting('serve', ...args, '--inspect', '--record', file);
  const live = await (await PageReader.come(url)).open();
  const driver = await TestDriver.open(await connectVhostUser(socket));
  for (const number of [1, 2, 77]) await driver.write(number);
  await driver.close();
  await live.until(() => live.state.connections?.some(({ gone }) => gone !== undefined));
  child.kill('SIGINT');
  await once(child, 'exit');
  const bytes = readFileSync(file);
  writeFileSync(file, bytes.subarray(0, bytes.length - 5));
  const shown = await inspecting('inspect', file);
  const page = await (await PageReader.come(shown.url)).open();
  const [source] = page.hello.sources;
  assert.deepEqual([source!.kind, source!.name], ['recording', 'a.pcapng']);
  assert.ok(source!.damage !== undefined);
  assert.match(shown.said(), /a\.pcapng: /);
  const texts = [...page.items.values()].flatMap((item) =>
    item.type === 'chain' ? item.text.slice(0, 7) : [],
  );
  assert.deepEqual(texts, ['type 1 ', 'type 2 ', 'type 77']);
  const refused = await page.command({ command: 'hold', connection: 1 });
  assert.match(refused.json.error, /it is a recording/);
  // One that is dropped on the page is there beside it.
  const headers = { 'content-type': 'application/octet-stream' };
  const sent = await page.ask('/api/recording?name=b%1b[31m.pcapng', {
    method: 'POST',
    headers,
    body: bytes,
  });
  assert.equal(sent.status, 200);
  const timeline = await page.ask(`/api/timeline?source=${sent.json.source}&connection=1&queue=0`);
  assert.ok(timeline.json.items.length > 3);
  assert.equal((await page.ask('/api/recording', { method: 'POST', headers, body: 'nothing' })).status, 400);
  page.close();
  shown.child.kill('SIGINT');
  assert.deepEqual(await once(shown.child, 'exit'), [0, null]);
});
