import assert from 'node:assert/strict';
import { closeSync, existsSync, openSync, writeSync } from 'node:fs';
import { after, test } from 'node:test';
import { LinuxOs } from './linux-os.js';

const os = new LinuxOs();
after(() => os.close());

const write = (fd: number, bytes: Uint8Array): Promise<Error | undefined> =>
  new Promise((resolve) => os.writePipe(fd, bytes, resolve));
const read = (fd: number, most = 2 ** 20): Promise<Uint8Array | Error> =>
  new Promise((resolve) => os.readPipe(fd, most, resolve));
const isOpen = (fd: number): boolean => existsSync(`/proc/self/fd/${fd}`);

for (const size of [0, 1, 4096, 65_536, 1_000_000]) {
  test(`${size} bytes go through a pipe, and both ends are closed then`, async () => {
    const { reader, writer } = os.createPipe();
    const bytes = Uint8Array.from({ length: size }, (_, i) => i * 7);
    const [error, result] = await Promise.all([write(writer, bytes), read(reader)]);
    assert.equal(error, undefined);
    assert.deepEqual(Buffer.from(result as Uint8Array).equals(bytes), true);
    assert.deepEqual([isOpen(reader), isOpen(writer)], [false, false]);
  });
}

test('an end that another process has stays as it is, however it is used there', async () => {
  const { reader, writer } = os.createPipe();
  const result = read(reader);
  for (const byte of [1, 2, 3]) writeSync(writer, Uint8Array.of(byte));
  closeSync(writer);
  assert.deepEqual([...((await result) as Uint8Array)], [1, 2, 3]);
});

test('nobody reads any more: EPIPE, and this process goes on', async () => {
  const { reader, writer } = os.createPipe();
  closeSync(reader);
  const error = await write(writer, new Uint8Array(8));
  assert.equal((error as { code?: string }).code, 'EPIPE');
  assert.equal(isOpen(writer), false);
});

test('more comes than may: EFBIG, and the writer sees that nobody reads', async () => {
  const { reader, writer } = os.createPipe();
  const written = write(writer, new Uint8Array(500_000));
  const result = await read(reader, 100_000);
  assert.match(String(result), /more than 100000 bytes come/);
  assert.equal(((await written) as { code?: string }).code, 'EPIPE');
});

test('what is given up calls nobody back, and its end is closed', async () => {
  const { reader, writer } = os.createPipe();
  const reading = os.readPipe(reader, 100, () => assert.fail('it was given up'));
  reading.end();
  reading.end();
  assert.equal(isOpen(reader), false);
  const error = await write(writer, Uint8Array.of(1));
  assert.equal((error as { code?: string }).code, 'EPIPE');
});

test('a stream socket does as well; anything else is refused by name, and closed', async () => {
  const { channel, fd } = os.createChannel();
  channel.receive({ received: () => {}, closed: () => {} });
  channel.send(Uint8Array.of(5, 6));
  channel.close();
  assert.deepEqual([...((await read(fd)) as Uint8Array)], [5, 6]);
  for (const [make, text] of [
    [() => openSync('/dev/null', 'r+'), /use \/dev\/null as a pipe/],
    [() => os.createMemory('state', 4096).fd, /use \/memfd:state/],
  ] as const) {
    const other = make();
    assert.throws(() => os.readPipe(other, 10, () => {}), text);
    const another = make();
    assert.throws(() => os.writePipe(another, new Uint8Array(1), () => {}), text);
  }
});

test('the wrong end of a pipe is refused, because it would never be ready', () => {
  for (const wrong of ['reader', 'writer'] as const) {
    const pipe = os.createPipe();
    const take = (fd: number) =>
      wrong === 'reader' ? os.writePipe(fd, Uint8Array.of(1), () => {}) : os.readPipe(fd, 10, () => {});
    assert.throws(() => take(pipe[wrong]), /at this end of pipe:.*EBADF/);
    closeSync(wrong === 'reader' ? pipe.writer : pipe.reader);
  }
});
