import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import {
  bytes,
  connectVfioUser,
  connectVhostUser,
  defineDevice,
  le16,
  MiscDriver,
  openDriver,
  type Server,
  serve,
  struct,
  structQueue,
  TestDriver,
  tail,
  text,
  u8,
  union,
  virtioMisc,
  virtioTest,
} from '../../src/index.js';
import { Recorder } from '../../src/record/recorder.js';
import { virtioMisc as command } from '../virtio-misc.js';
import { tshark } from './tshark.js';

// A reader that nobody here wrote: Wireshark's.

const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** Records what is done with a device that is served. @returns the file. */
async function recording(
  name: string,
  make: Parameters<typeof serve>[0],
  transport: 'vhostUser' | 'vfioUser',
  work: (socket: string, server: Server) => Promise<void>,
): Promise<string> {
  const pieces: Uint8Array[] = [];
  const write = (blocks: Uint8Array): boolean => pieces.push(blocks) > 0;
  const recorder = new Recorder({ write }, 'a test', () => Date.now());
  const socket = join(folder, `${name}.sock`);
  const server = await serve(make, { [transport]: socket, print: false, warn: () => {} });
  server.observe(recorder.listener(65_536));
  await work(socket, server);
  server.close();
  recorder.flush();
  const file = join(folder, `${name}.pcapng`);
  writeFileSync(file, Buffer.concat(pieces));
  return file;
}

test('a recording of virtio-test: requests and answers by name, which can be filtered by', async () => {
  const file = await recording('test', virtioTest(), 'vhostUser', async (socket) => {
    const driver = await TestDriver.open(await connectVhostUser(socket));
    await driver.write(10);
    await driver.write(77);
    await driver.close();
  });
  const shark = await tshark(folder);
  const lines = await shark('-r', file);
  const has = (pattern: RegExp): void =>
    assert.ok(
      lines.some((line) => pattern.test(line)),
      lines.join('\n'),
    );
  has(/driver . device .*virtio .*connected virtio-test \(id 45\)/);
  has(/print #1 taken type=10 arg1=11 arg2=12 arg3=13 arg4="hello back end!"/);
  has(/device . driver .*print #1 used ret=111 arg1=112 arg2=113/);
  has(/line QEMU_BACK_END: >>> get type \[ 77 \] form the front end <<</);
  const fields = ['-T', 'fields', '-e', 'virtio_misc.chain', '-e', 'virtio_misc.test.print.request.arg4'];
  assert.deepEqual(await shark('-r', file, '-Y', 'virtio_misc.test.print.request.type == 77', ...fields), [
    '2\thello back end!',
  ]);
  const tree = (await shark('-r', file, '-V')).join('\n');
  for (const label of [
    "Queue's name: print",
    'Time in the device, ns: ',
    'Descriptor 2',
    'ret: 111',
    'Descriptors: 128',
  ])
    assert.ok(tree.includes(label), `${label} is shown`);
  assert.doesNotMatch(tree, /malformed|Lua Error/i);
  // A time since 1970, to the nanosecond.
  const [first] = await shark('-r', file, '-T', 'fields', '-e', 'frame.time_epoch');
  assert.ok(Math.abs(Number(first) - Date.now() / 1e3) < 600 || /^\d{4}-/.test(first!), first);
});

test('a recording of timers: requests, answers and notifications by name', async () => {
  const file = await recording('misc', virtioMisc(), 'vfioUser', async (socket) => {
    const driver = await MiscDriver.open(await connectVfioUser(socket));
    await new Promise<void>((done) => void driver.setTimer(5, () => done(), undefined));
    const timer = await driver.setTimer(60_000, () => {}, undefined);
    await timer.cancel();
    await driver.close();
  });
  const lines = await (await tshark(folder))('-r', file);
  const has = (pattern: RegExp): void =>
    assert.ok(
      lines.some((line) => pattern.test(line)),
      lines.join('\n'),
    );
  has(/controlq #1 taken SET_TIMER_?N?S? .*request_id=/);
  has(/controlq #1 used status=0/);
  has(/notifyq #1 used TIMER_EXPIRED request_id=\d+/);
  has(/controlq #3 taken CANCEL_TIMER/);
});

test("a device of one's own: structs of every kind, from the recording alone and with fields of its file; hostile texts are only shown", async () => {
  const Request = union('what', u8, {
    NAME: [1, struct({ name: text(20), numbers: tail(le16, 8) })],
    RAW: [2, struct({ raw: bytes(3) })],
  });
  const source = `import { defineDevice, union, u8, struct, text, tail, le16, bytes, structQueue } from 'virtio-misc';
    export default defineDevice({ id: 63, name: 'virtio-mine', queues: [structQueue({ name: 'askq',
      request: union('what', u8, { NAME: [1, struct({ name: text(20), numbers: tail(le16, 8) })], RAW: [2, struct({ raw: bytes(3) })] }),
      response: struct({ n: le16 }), handle: () => ({ n: 7 }) })] });`;
  const make = defineDevice({
    id: 63,
    name: 'virtio-mine',
    queues: [
      structQueue({
        name: 'askq',
        request: Request,
        response: struct({ n: le16 }),
        handle: () => ({ n: 7 }),
      }),
    ],
  });
  const own = await recording('mine', make, 'vhostUser', async (socket) => {
    const driver = await openDriver(await connectVhostUser(socket), { id: 63, features: 0n, queues: 1 });
    const ask = (values: Parameters<typeof Request.encode>[0]): Promise<unknown> =>
      driver.queues[0]!.request(Request.encode(values), 2);
    await ask({ what: 'NAME', name: '\x1b[31m<script>\x07', numbers: [1, 2, 300] });
    await ask({ what: 'RAW', raw: Uint8Array.of(1, 2, 3) });
    await driver.queues[0]!.request(Uint8Array.of(9), 2);
    await driver.close();
  });
  const file = join(folder, 'mine.ts');
  writeFileSync(file, source);
  for (const devices of [[], [file]]) {
    const shark = await tshark(folder, devices);
    const lines = await shark('-r', own);
    const has = (text: string): void =>
      assert.ok(
        lines.some((line) => line.includes(text)),
        lines.join('\n'),
      );
    has('askq #1 taken NAME name="\\x1b[31m<script>\\x07" numbers=[1 2 300]');
    has('askq #2 taken RAW raw=010203');
    has('askq #3 taken unknown(9)');
    has('askq #2 used n=7');
    assert.ok(!lines.join('').includes('\x1b'));
    if (devices.length > 0) {
      const hits = await shark('-r', own, '-Y', 'virtio_misc.mine.askq.request.numbers == 300');
      assert.equal(hits.length, 1);
    }
  }
});

test('what is none of ours, or damaged, is said so by both', async () => {
  const file = await recording('cut', virtioTest(), 'vhostUser', async (socket) => {
    const driver = await TestDriver.open(await connectVhostUser(socket));
    await driver.close();
  });
  const shark = await tshark(folder);
  // Written anew by Wireshark's own writer, it is read as before.
  const again = join(folder, 'again.pcapng');
  await shark('-r', file, '-w', again);
  const [before, after] = [await command('show', file), await command('show', again)];
  assert.deepEqual([after.code, after.lines], [0, before.lines]);
});
