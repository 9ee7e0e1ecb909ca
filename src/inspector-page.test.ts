import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect as connectTcp } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { connectVfioUser, connectVhostUser } from './connect.js';
import { TestDriver } from './devices/test/driver.js';
import {
  bytes,
  defineDevice,
  type Inspector,
  le32,
  openInspector,
  type Server,
  serve,
  struct,
  structQueue,
  virtioTest,
} from './index.js';
import { InspectorServer } from './inspector/http/inspector-server.js';
import { Live } from './inspector/live.js';
import type { ChainDetail, ChainItem, TimelineAnswer } from './inspector/protocol.js';
import { ask, PageReader } from './inspector/testing/page-reader.js';
import type { VhostUserFrontend } from './transports/vhost-user/driver/frontend.js';

let folder: string;
let server: Server | undefined;
let inspector: Inspector;
let page: PageReader | undefined;
let driver: TestDriver | undefined;
const socket = (): string => join(folder, 'test.sock');

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  inspector = await openInspector({ title: 'test' });
});
afterEach(async () => {
  page?.close();
  await driver?.close();
  inspector.close();
  server?.close();
  rmSync(folder, { recursive: true, force: true });
  page = undefined;
  driver = undefined;
});

/** Serves virtio-test, drives it, and opens the page. */
async function begin(more: { packed?: boolean } = {}): Promise<[TestDriver, PageReader]> {
  const features = more.packed === true ? { features: { packed: true } } : {};
  server = await serve(virtioTest(), { vhostUser: socket(), print: false, ...features });
  inspector.add(server);
  driver = await TestDriver.open(await connectVhostUser(socket()));
  page = await (await PageReader.come(inspector.url)).open();
  return [driver, page];
}

const chains = (reader: PageReader): ChainItem[] =>
  [...reader.items.values()].flatMap((item) => (item.type === 'chain' ? item : []));

for (const packed of [false, true]) {
  test(`a page is told who is there, what passes, and how the ${packed ? 'packed' : 'split'} ring lies`, async () => {
    const [driver, page] = await begin({ packed });
    const [connection] = page.state.connections!;
    assert.deepEqual(connection!.device, { id: 45, name: 'virtio-test' });
    assert.deepEqual(
      [connection!.transport, connection!.life, connection!.negotiated],
      ['vhost-user', 'running', true],
    );
    const feature = (name: string): boolean[] =>
      connection!.features.flatMap(({ name: its, offered, accepted }) =>
        its === name ? [offered, accepted] : [],
      );
    assert.deepEqual(feature('VIRTIO_F_VERSION_1'), [true, true]);
    assert.deepEqual(feature('CAN_PRINT'), [true, true]);
    assert.deepEqual(connection!.steps.map(({ what }) => what).slice(0, 2), ['connected', 'reset']);
    await driver.write(10);
    const item = await page.until(() =>
      chains(page).find(({ interrupt, suppressed }) => interrupt !== undefined || suppressed),
    );
    assert.equal(item.text, 'type 10 arg1 11 arg2 12 arg3 13 arg4 "hello back end!"');
    assert.ok(item.available! <= item.taken && item.taken <= item.used! && item.used! <= item.interrupt!);
    const detail = (await page.ask(`/api/chain?connection=1&queue=0&id=${item.id}`)).json as ChainDetail;
    assert.equal(detail.request.bytes.slice(0, 8), '0a000000');
    assert.deepEqual(
      detail.response!.fields.map(({ name, value }) => [name, value]),
      [
        ['ret', '111'],
        ['arg1', '112'],
        ['arg2', '113'],
      ],
    );
    assert.deepEqual(
      detail.descriptors.map(({ length, writable }) => [length, writable]),
      [
        [48, false],
        [12, true],
      ],
    );
    const ring = await page.until(() =>
      page.state.rings?.find(({ layout }) => layout === (packed ? 'packed' : 'split')),
    );
    assert.ok(
      ring.layout !== 'none' &&
        ring.size === 128 &&
        ring.descriptors.length === 128 &&
        ring.inFlightCount === 0,
    );
    const after = await page.until(() =>
      page.state.rings?.find((sample) => sample.layout !== 'none' && sample.waiting === 0),
    );
    if (after.layout === 'split') {
      assert.deepEqual([after.available.index, after.available.next, after.used.index], [1, 1, 1]);
      // Both descriptors are in a table of their own.
      const [, length, flags] = after.descriptors[after.available.ring[0]!]!;
      assert.deepEqual([length, flags], [32, 4]);
    } else if (after.layout === 'packed')
      assert.deepEqual([after.available.offset, after.used.offset], [1, 1]);
    const line = await page.until(() => [...page.items.values()].find(({ type }) => type === 'line'));
    assert.match(line.type === 'line' ? line.text : '', /get type \[ 10 \]/);
    await page.until(() =>
      page.frames
        .flatMap(({ points = [] }) => points)
        .find(({ used, latency }) => used === 1 && latency?.of === 1),
    );
    const timeline = (await page.ask('/api/timeline?connection=1&queue=0')).json as TimelineAnswer;
    assert.deepEqual(
      timeline.items.find(({ type }) => type === 'chain'),
      page.items.get(item.id),
    );
  });
}

test('a held queue keeps the driver waiting, shows what comes next, takes steps, and goes on', async () => {
  const [driver, page] = await begin();
  assert.equal((await page.command({ command: 'hold', connection: 1 })).status, 200);
  const answers = [10, 20, 30].map((number) => driver.write(number));
  const hold = await page.until(() => page.state.holds?.find(({ waiting }) => waiting === 3));
  assert.deepEqual([hold.by, hold.next?.chain, hold.next?.text.slice(0, 7)], ['person', 1, 'type 10']);
  assert.deepEqual(hold.next!.request.fields[0], {
    name: 'type',
    offset: 0,
    size: 4,
    type: 'sle32',
    value: '10',
  });
  const [sample] = await page.until(
    () => page.state.rings?.some((ring) => ring.layout === 'split' && ring.waiting === 3) && page.state.rings,
  );
  assert.ok(sample?.layout === 'split' && sample.inFlightCount === 0 && sample.available.next === 0);
  await page.command({ command: 'step', connection: 1, queue: 0 });
  assert.equal((await answers[0]!).ret, 111);
  const next = await page.until(() => page.state.holds?.find(({ waiting }) => waiting === 2));
  assert.deepEqual([next.next?.chain, next.next?.text.slice(0, 7)], [2, 'type 20']);
  await page.command({ command: 'release' });
  assert.deepEqual([(await answers[1]!).ret, (await answers[2]!).ret], [121, 131]);
  await page.until(() => page.state.holds?.length === 0);
  const what = [...page.items.values()].flatMap((item) => (item.type === 'event' ? item.what : []));
  assert.ok(what.includes('hold') && what.includes('release'));
});

test('a breakpoint on a field stops before the device sees it', async () => {
  const [driver, page] = await begin();
  const on = { kind: 'when', when: 'type == 77' } as const;
  const { json } = await page.command({ command: 'break', queue: 'print', on });
  for (const number of [1, 2, 3]) await driver.write(number);
  const stopped = driver.write(77);
  const hold = await page.until(() => page.state.holds?.[0]);
  assert.deepEqual(
    [hold.by, hold.breakpoint, hold.reason, hold.next?.chain],
    ['breakpoint', json.breakpoint, 'type == 77', 4],
  );
  assert.equal(page.state.breakpoints?.[0]?.hits, 1);
  assert.ok(!chains(page).some(({ text }) => text.startsWith('type 77')));
  await page.command({ command: 'release', connection: 1, queue: 0 });
  assert.equal((await stopped).ret, 178);
  // It is there for the next one, until it is taken away.
  const again = driver.write(77);
  await page.until(() => page.state.breakpoints?.[0]?.hits === 2);
  await page.command({ command: 'unbreak', breakpoint: json.breakpoint });
  await page.command({ command: 'release' });
  assert.equal((await again).ret, 178);
  assert.equal((await driver.write(77)).ret, 178);
});

test('the n-th chain, any chain; a disabled breakpoint holds nothing', async () => {
  const [driver, page] = await begin();
  const nth = await page.command({ command: 'break', on: { kind: 'chain', n: 3 } });
  await driver.write(1);
  await driver.write(2);
  const third = driver.write(3);
  await page.until(() => page.state.holds?.[0]?.next?.chain === 3);
  await page.command({ command: 'enable', breakpoint: nth.json.breakpoint, enabled: false });
  await page.command({ command: 'break', connection: 1, on: { kind: 'any' } });
  await page.command({ command: 'release' });
  await third;
  const fourth = driver.write(4);
  await page.until(() => page.state.holds?.[0]?.next?.chain === 4);
  // One breakpoint after the other.
  await page.command({ command: 'unbreak', breakpoint: 2 });
  await page.command({ command: 'release' });
  await fourth;
});

test('a reset ends a hold, and so does the end of a connection; what comes next is not held', async () => {
  const [first, page] = await begin();
  await page.command({ command: 'hold', connection: 1, queue: 0 });
  const lost = first.write(1).catch((error: unknown) => error);
  await page.until(() => page.state.holds?.[0]?.waiting === 1);
  await first.close();
  assert.ok((await lost) instanceof Error);
  await page.until(() => page.state.holds?.length === 0);
  driver = await TestDriver.open(await connectVhostUser(socket()));
  assert.equal((await driver.write(10)).ret, 111);
  assert.match((await page.command({ command: 'hold', connection: 1 })).json.error, /no connection 1/);
});

test('edited code that takes the place of a held device gets what waits', async () => {
  const [driver, page] = await begin();
  await page.command({ command: 'hold', connection: 1 });
  const answer = driver.write(10);
  await page.until(() => page.state.holds?.[0]?.waiting === 1);
  assert.deepEqual(
    server!.replace(virtioTest()).map(({ error }) => error),
    [undefined],
  );
  await page.until(() => page.state.connections?.[0]?.replaced === 1);
  assert.equal(page.state.holds?.[0]?.waiting, 1);
  await page.command({ command: 'release' });
  assert.equal((await answer).ret, 111);
});

test('over vfio-user a queue is held and goes on as well', async () => {
  server = await serve(virtioTest(), { vfioUser: socket(), print: false });
  inspector.add(server);
  driver = await TestDriver.open(await connectVfioUser(socket()));
  page = await (await PageReader.come(inspector.url)).open();
  assert.equal(page.state.connections?.[0]?.transport, 'vfio-user');
  assert.ok(page.state.connections?.[0]?.status !== undefined);
  await page.command({ command: 'hold', connection: 1 });
  const answer = driver.write(10);
  await page.until(() => page!.state.holds?.[0]?.next?.text.startsWith('type 10'));
  await page.command({ command: 'release' });
  assert.equal((await answer).ret, 111);
});

test('lines of a device are data: markup, terminals, 64 KiB', async () => {
  const Request = struct({ all: bytes(48) });
  const wild = '<script>alert(1)</script>\u001b]0;owned\u0007</script>';
  const make = defineDevice({
    id: 45,
    name: 'wild <b>',
    queues: [
      structQueue({
        name: 'print',
        request: Request,
        response: struct({ ret: le32, rest: bytes(8) }),
        handle(_, { print }) {
          print(wild + 'x'.repeat(65_536));
          return { ret: 0, rest: new Uint8Array(8) };
        },
      }),
    ],
    features: { CAN_PRINT: 0 },
  });
  server = await serve(make, { vhostUser: socket(), print: false });
  inspector.add(server);
  driver = await TestDriver.open(await connectVhostUser(socket()));
  page = await (await PageReader.come(inspector.url)).open();
  await driver.write(1);
  const line = await page.until(() => [...page!.items.values()].find(({ type }) => type === 'line'));
  assert.ok(
    line.type === 'line' && line.text.length === 65_536 && line.text.startsWith('<script>alert(1)</script>'),
  );
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
  assert.doesNotMatch(line.text, /[\x00-\x1f\x7f]/);
  assert.equal(page.state.connections?.[0]?.device.name, 'wild <b>');
  const answer = await page.ask('/api/timeline');
  assert.equal(answer.headers['content-type'], 'application/json; charset=utf-8');
  assert.equal(answer.headers['x-content-type-options'], 'nosniff');
  assert.match(String(answer.headers['content-security-policy']), /default-src 'none'; script-src 'self'/);
});

test('who has not the printed address is not let in, and nobody twice', async () => {
  const { origin } = new URL(inspector.url);
  const { url } = inspector;
  assert.equal((await ask(`${origin}/`)).status, 401);
  assert.equal((await ask(`${origin}/api/events`)).status, 401);
  assert.equal((await ask(`${origin}/?token=x`)).status, 401);
  assert.equal((await ask(`${origin}/`, { headers: { cookie: 'virtio-misc-1=x; a' } })).status, 401);
  // A browser that looks ahead does not use it up.
  assert.equal((await ask(url, { headers: { 'sec-purpose': 'prefetch' } })).status, 401);
  const first = await ask(url);
  assert.deepEqual([first.status, first.headers.location], [303, '/']);
  assert.match(first.headers['set-cookie']![0]!, /; HttpOnly; SameSite=Strict$/);
  const again = await ask(url);
  assert.deepEqual([again.status, again.headers['set-cookie']], [401, undefined]);
  assert.match(again.json.error, /lets one browser in, once/);
});

test('a person who is not let in is told how, in words; what he sent is no markup', async () => {
  const { origin } = new URL(inspector.url);
  const accept = 'text/html,application/xhtml+xml,*/*;q=0.8';
  for (const path of ['/', '/?token=%3Cscript%3E']) {
    const answer = await ask(`${origin}${path}`, { headers: { accept } });
    assert.equal(answer.status, 401);
    assert.equal(answer.headers['content-type'], 'text/html; charset=utf-8');
    assert.match(answer.text, /Open that one here/);
    assert.doesNotMatch(answer.text, /<script|token=%3C/i);
    assert.match(String(answer.headers['content-security-policy']), /^default-src 'none'; style-src/);
  }
  const wild = await ask(`${origin}/`, { headers: { accept, host: 'evil<script>' } });
  assert.equal(wild.status, 403);
  assert.doesNotMatch(wild.text, /<script/);
  // A program is told in JSON, and so is what a page asks beside.
  assert.match((await ask(`${origin}/`)).json.error, /address that was printed/);
  assert.match((await ask(`${origin}/api/events`, { headers: { accept } })).json.error, /was printed/);
});

test('a ring that is stopped and started again is still held, and has what waited', async () => {
  server = await serve(virtioTest(), { vhostUser: socket(), print: false });
  inspector.add(server);
  const transport = await connectVhostUser(socket());
  driver = await TestDriver.open(transport);
  page = await (await PageReader.come(inspector.url)).open();
  await driver.write(1);
  await page.command({ command: 'hold', connection: 1, queue: 0 });
  const answer = driver.write(20);
  await page.until(() => page!.state.holds?.some(({ waiting }) => waiting === 1));
  const stopped = (): number => page!.state.connections![0]!.steps.filter(isStopped).length;
  const isStopped = ({ what }: { what: string }): boolean => what === 'queue-stopped';
  // As a VMM does with a guest that it pauses.
  await (transport as VhostUserFrontend).stopQueue(0);
  await transport.start();
  await page.until(() => stopped() === 1);
  const hold = await page.until(() => page!.state.holds?.find(({ next }) => next !== undefined));
  assert.deepEqual([hold.by, hold.waiting, hold.next?.text.slice(0, 8)], ['person', 1, 'type 20 ']);
  await page.command({ command: 'release' });
  assert.equal((await answer).ret, 121);
});

test('when the last page has gone for a while, what is held goes on, and breakpoints sleep until one comes', async () => {
  const live = new Live('test', () => Math.round(performance.now() * 1e6), 0);
  const http = await InspectorServer.listen({ title: 'test', host: '127.0.0.1', port: 0, live, grace: 50 });
  try {
    server = await serve(virtioTest(), { vhostUser: socket(), print: false });
    server.observe(live.listener());
    driver = await TestDriver.open(await connectVhostUser(socket()));
    page = await (await PageReader.come(http.url)).open();
    await page.command({ command: 'break', on: { kind: 'when', when: 'type == 77' } });
    const held = driver.write(77);
    await page.until(() => page!.state.holds?.[0]?.by === 'breakpoint');
    page.close();
    assert.equal((await held).ret, 178);
    assert.equal((await driver.write(77)).ret, 178, 'nobody is there to let it go');
    assert.equal((await page.command({ command: 'hold', connection: 1 })).status, 409);
    const { breakpoints } = (await page.open()).hello.state;
    assert.equal(breakpoints?.[0]?.hits, 1, 'it is kept');
    const again = driver.write(77);
    await page.until(() => page!.state.breakpoints?.[0]?.hits === 2);
    await page.command({ command: 'release' });
    assert.equal((await again).ret, 178);
  } finally {
    page?.close();
    http.close();
  }
});

test('other sites and other names are not answered, with the cookie too', async () => {
  page = await PageReader.come(inspector.url);
  const { host, port } = new URL(page.base);
  const status = async (headers: Record<string, string>, path = '/api/timeline'): Promise<number> =>
    (await page!.ask(path, { headers })).status;
  assert.equal(await status({}), 200);
  assert.equal(await status({ origin: `http://${host}`, 'sec-fetch-site': 'same-origin' }), 200);
  assert.equal(await status({ host: `localhost:${port}` }), 200);
  assert.equal(await status({ host: `[::1]:${port}` }), 200);
  assert.equal(await status({ host: 'evil.example' }), 403);
  assert.equal(await status({ host: `127.0.0.1.evil.example:${port}` }), 403);
  assert.equal(await status({ origin: 'http://evil.example' }), 403);
  assert.equal(await status({ origin: 'null' }), 403);
  assert.equal(await status({ origin: `http://localhost:${Number(port) + 1}` }), 403);
  assert.equal(await status({ 'sec-fetch-site': 'cross-site' }), 403);
  assert.equal(await status({ 'sec-fetch-site': 'same-site' }, '/assets/page.js'), 403);
});

test('what is no command is refused in one line, however large', async () => {
  page = await (await PageReader.come(inspector.url)).open();
  const post = async (body: string, type = 'application/json'): Promise<[number, string]> => {
    const answer = await page!.ask('/api/command', {
      method: 'POST',
      headers: { 'content-type': type },
      body,
    });
    assert.doesNotMatch(answer.json.error, /\n/);
    return [answer.status, answer.json.error];
  };
  assert.deepEqual((await post('{"command":"release"}', 'text/plain'))[0], 415);
  assert.deepEqual((await post('x'.repeat(70_000)))[0], 413);
  for (const [body, why] of [
    ['{', /is JSON/],
    ['[]', /is an object/],
    ['{"command":"x"}', /take view, hold/],
    ['{"command":"hold"}', /connection: take a number/],
    ['{"command":"hold","connection":1.5}', /connection: take a number/],
    ['{"command":"hold","connection":9}', /no connection 9/],
    ['{"command":"step","connection":1,"queue":0,"chains":0}', /chains: take a number from 1 to 1000/],
    ['{"command":"break","on":{"kind":"when","when":"type =="}}', /ends where a number/],
    ['{"command":"break","on":{"kind":"never"}}', /on: take any, when, broken or chain/],
    ['{"command":"unbreak","breakpoint":5}', /no breakpoint 5/],
    ['{"command":"view","client":99,"rings":[]}', /no page 99/],
    ['{"command":"view","client":1,"rings":[1]}', /take \{ connection, queue \}/],
  ] as const) {
    const [status, error] = await post(body);
    assert.equal(status, 400, body);
    assert.match(error, why);
  }
  assert.equal((await page.ask('/api/command')).status, 405);
  assert.equal((await page.ask('/', { method: 'POST' })).status, 405);
  assert.equal((await page.ask('/assets/..%2f..%2fpackage.json')).status, 404);
  assert.equal((await page.ask('/assets/../../package.json')).status, 404);
  assert.equal((await page.ask('/api/events?source=x')).status, 404);
  assert.equal((await page.ask('/api/chain?connection=1')).status, 400);
  assert.equal((await page.ask('/api/chain?connection=1&queue=0&id=5')).status, 404);
  const breakpoints = await Promise.all(
    Array.from({ length: 70 }, () => page!.command({ command: 'break', on: { kind: 'any' } })),
  );
  assert.equal(breakpoints.filter(({ status }) => status === 400).length, 6);
});

test('so many pages and no more; and nothing is held without one', async () => {
  page = await PageReader.come(inspector.url);
  assert.match((await page.command({ command: 'hold', connection: 1 })).json.error, /no page is open/);
  const events = (): Promise<number> =>
    new Promise((resolve) => {
      const { hostname, port } = new URL(page!.base);
      const tcp = connectTcp(Number(port), hostname, () => {
        tcp.write(`GET /api/events HTTP/1.1\r\nHost: ${hostname}\r\nCookie: ${page!.cookie}\r\n\r\n`);
      });
      sockets.push(tcp);
      tcp.once('data', (piece) => resolve(Number(/^HTTP\/1.1 (\d+)/.exec(piece.toString())![1])));
    });
  const sockets: ReturnType<typeof connectTcp>[] = [];
  for (let i = 0; i < 8; i++) assert.equal(await events(), 200);
  assert.equal(await events(), 503);
  for (const tcp of sockets) tcp.destroy();
  // A place is free as soon as one is gone.
  while ((await events()) !== 200) await pause(5);
  for (const tcp of sockets) tcp.destroy();
});

test('pages hear that it ends', async () => {
  const [, page] = await begin();
  inspector.close();
  assert.match(await page.until(() => page.bye), /ends/);
});

test('options that can not be meant are refused', async () => {
  await assert.rejects(openInspector({ port: 70_000 }), TypeError);
  await assert.rejects(openInspector({ host: '' }), TypeError);
  // biome-ignore lint/suspicious/noExplicitAny: it is wrong.
  await assert.rejects(openInspector({ prot: 1 } as any), /prot/);
  await assert.rejects(openInspector({ port: Number(new URL(inspector.url).port) }), { code: 'EADDRINUSE' });
});
