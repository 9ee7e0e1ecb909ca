import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { closeFd } from './close-fd.js';
import { fcntl, listen } from './libc.js';
import { SocketFile } from './socket-file.js';
import { Inbox } from './testing/inbox.js';
import { descriptorsLeft, freshOs, openDescriptors } from './testing/open-descriptors.js';
import { runScript } from './testing/run-script.js';
import { settled } from './testing/settled.js';
import type { UnixChannel } from './unix-channel.js';
import type { UnixListener } from './unix-listener.js';
import { openSocket, SOCK_STREAM } from './unix-socket.js';

const F_DUPFD = 0;

const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-'));
after(() => rmSync(folder, { recursive: true }));
let count = 0;
const os = freshOs();

function freshPath(): string {
  return join(folder, `${count++}.sock`);
}

/** The connections that a listener took. */
class Door {
  readonly guests: UnixChannel[] = [];
  #wake: () => void = () => {};

  constructor(listener: UnixListener) {
    listener.accept({
      accepted: (channel) => {
        this.guests.push(channel);
        this.#wake();
      },
      failed: assert.ifError,
    });
  }

  async until(guests: number): Promise<void> {
    while (this.guests.length < guests) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  close(): void {
    for (const guest of this.guests) guest.close();
  }
}

/** A socket file whose process is gone. */
function abandon(path: string): void {
  const fd = openSocket(SOCK_STREAM);
  SocketFile.bind(fd, path);
  listen(fd, 1);
  closeFd(fd);
}

test('whoever connects is accepted and can talk; the socket file is gone at the end', async () => {
  const path = freshPath();
  const listener = os().listen(path);
  const door = new Door(listener);
  const client = os().connect(path);
  client.send(Buffer.from('knock'));
  await door.until(1);
  const inbox = new Inbox(door.guests[0]!);
  await inbox.until(() => inbox.text === 'knock');
  listener.close();
  listener.close();
  assert.equal(existsSync(path), false);
  door.close();
  client.close();
});

test('while it is paused, who connects waits in the backlog with all that it sent', async () => {
  const path = freshPath();
  const listener = os().listen(path);
  const door = new Door(listener);
  const first = os().connect(path);
  const second = os().connect(path);
  listener.pause();
  for (let i = 0; i < 5; i++) await settled(os());
  assert.equal(door.guests.length, 0);
  second.send(Buffer.from('patience'));
  second.close();
  listener.resume();
  await door.until(2);
  const inbox = new Inbox(door.guests[1]!);
  await inbox.until(() => inbox.closes > 0);
  assert.equal(inbox.text, 'patience');
  listener.close();
  door.close();
  first.close();
});

test('a pause inside accepted keeps the next one out', async () => {
  const path = freshPath();
  const listener = os().listen(path);
  const accepted: UnixChannel[] = [];
  const clients = [os().connect(path), os().connect(path)];
  await new Promise<void>((resolve) => {
    listener.accept({
      accepted: (channel) => {
        accepted.push(channel);
        listener.pause();
        resolve();
      },
      failed: assert.ifError,
    });
  });
  for (let i = 0; i < 5; i++) await settled(os());
  assert.equal(accepted.length, 1);
  listener.close();
  for (const channel of [...accepted, ...clients]) channel.close();
});

test('a socket file whose process is gone is taken over', async () => {
  const path = freshPath();
  abandon(path);
  const listener = os().listen(path);
  const door = new Door(listener);
  const client = os().connect(path);
  await door.until(1);
  listener.close();
  door.close();
  client.close();
});

test('a live socket is refused, and its process does not hear of it', async () => {
  const path = freshPath();
  const listener = os().listen(path);
  const door = new Door(listener);
  assert.throws(() => os().listen(path), {
    name: 'OsError',
    code: 'EADDRINUSE',
    message: `can't listen at ${path}: another process has its socket there (bind: EADDRINUSE)`,
  });
  const client = os().connect(path);
  await door.until(1);
  for (let i = 0; i < 5; i++) await settled(os());
  assert.equal(door.guests.length, 1);
  listener.close();
  door.close();
  client.close();
});

test('one that is bound but does not listen yet is live, too', () => {
  const path = freshPath();
  const fd = openSocket(SOCK_STREAM);
  const file = SocketFile.bind(fd, path);
  assert.throws(() => os().listen(path), { code: 'EADDRINUSE' });
  file.remove();
  closeFd(fd);
});

test('a file that is no socket is refused and left alone', () => {
  const path = freshPath();
  writeFileSync(path, 'precious');
  assert.throws(() => os().listen(path), { code: 'EADDRINUSE', message: /is no socket/ });
  assert.equal(readFileSync(path, 'utf8'), 'precious');
  assert.throws(() => os().listen(folder), { code: 'EADDRINUSE', message: /is no socket/ });
});

test("somebody else's socket file at our path is left alone at the end", () => {
  const path = freshPath();
  const ours = os().listen(path);
  rmSync(path);
  const theirs = os().listen(path);
  const inode = statSync(path).ino;
  ours.close();
  assert.equal(statSync(path).ino, inode);
  theirs.close();
  assert.equal(existsSync(path), false);
});

test('a socket file that is gone already, or in a folder that is, does not trouble the end', () => {
  const path = freshPath();
  const listener = os().listen(path);
  renameSync(path, freshPath());
  listener.close();
  const place = mkdtempSync(join(folder, 'gone-'));
  const another = os().listen(join(place, 's'));
  rmSync(place, { recursive: true });
  another.close();
});

test('a relative path is removed from where it was', () => {
  const place = mkdtempSync(join(folder, 'cwd-'));
  const before = process.cwd();
  process.chdir(place);
  const listener = os().listen('s');
  process.chdir(before);
  listener.close();
  assert.equal(existsSync(join(place, 's')), false);
});

test('a path of 107 bytes is the longest', () => {
  const stem = `${folder}/`;
  const longest = stem + 'x'.repeat(107 - stem.length);
  os().listen(longest).close();
  const long = { code: 'ENAMETOOLONG', message: /has 108 bytes and may have 107/ };
  assert.throws(() => os().listen(`${longest}x`), long);
  assert.throws(() => os().connect(`${longest}x`), long);
  assert.throws(() => os().connect(`${stem}${'ü'.repeat(54)}`), { code: 'ENAMETOOLONG' });
  assert.throws(() => os().listen(''), TypeError);
  assert.throws(() => os().connect('\0abstract'), TypeError);
});

test('connecting to nobody says so', () => {
  const before = openDescriptors();
  const path = freshPath();
  assert.throws(() => os().connect(path), {
    code: 'ENOENT',
    message: `can't connect to ${path} (connect: ENOENT)`,
  });
  abandon(path);
  assert.throws(() => os().connect(path), { code: 'ECONNREFUSED', syscall: 'connect' });
  assert.throws(() => os().listen(join(folder, 'no', 'such', 'folder')), { code: 'ENOENT', syscall: 'bind' });
  assert.equal(openDescriptors(), before);
});

test('a descriptor that listens can be taken over, and its file stays', async () => {
  const path = freshPath();
  const fd = openSocket(SOCK_STREAM);
  const file = SocketFile.bind(fd, path);
  listen(fd, 1);
  const listener = os().adoptListener(fcntl(fd, F_DUPFD, 0));
  const door = new Door(listener);
  const client = os().connect(path);
  await door.until(1);
  listener.close();
  assert.ok(existsSync(path));
  file.remove();
  closeFd(fd);
  door.close();
  client.close();
});

test('a descriptor that does not listen is refused and closed', async () => {
  const before = openDescriptors();
  assert.throws(() => os().adoptListener(openSocket(SOCK_STREAM)), {
    code: 'EINVAL',
    message: /does not listen/,
  });
  assert.throws(() => os().adoptListener(os().createEvent().fd), { code: 'ENOTSOCK' });
  assert.throws(() => os().adoptChannel(openSocket(SOCK_STREAM)), { code: 'ENOTCONN' });
  await descriptorsLeft(before);
});

test('a connection for which there is no descriptor left is taken when there is one again', () => {
  const path = freshPath();
  const { output, status, errors } = runScript(
    `
    import { openSync, closeSync } from 'node:fs';
    const os = new LinuxOs();
    const listener = os.listen(${JSON.stringify(path)});
    const client = os.connect(${JSON.stringify(path)});
    const hoard = [];
    try { for (;;) hoard.push(openSync('/dev/null', 'r')); } catch (error) { console.log(error.code); }
    let failures = 0;
    listener.accept({
      accepted(channel) {
        console.log('accepted', failures);
        channel.close();
        client.close();
        listener.close();
      },
      failed(error) {
        failures++;
        console.log(error.message);
        for (const fd of hoard) closeSync(fd);
      },
    });
  `,
    'ulimit -n 64',
  );
  assert.equal(output, "EMFILE\ncan't take a connection (accept4: EMFILE)\naccepted 1", errors);
  assert.equal(status, 0);
});

test('while there is no descriptor, a connection is tried for ever more rarely', () => {
  const path = freshPath();
  const { output, status, errors } = runScript(
    `
    import { openSync, closeSync } from 'node:fs';
    import { mock } from 'node:test';
    const os = new LinuxOs();
    const listener = os.listen(${JSON.stringify(path)});
    const client = os.connect(${JSON.stringify(path)});
    const hoard = [];
    try { for (;;) hoard.push(openSync('/dev/null', 'r')); } catch {}
    mock.timers.enable({ apis: ['setTimeout'] });
    let failures = 0;
    listener.accept({
      accepted(channel) {
        console.log('accepted');
        channel.close();
        client.close();
        listener.close();
      },
      failed() { failures++; },
    });
    const turns = async () => { for (let i = 0; i < 4; i++) await new Promise(setImmediate); };
    // A minute
    for (let ms = 0; ms < 60_000; ms += 100) {
      await turns();
      mock.timers.tick(100);
    }
    console.log(failures);
    for (const fd of hoard) closeSync(fd);
    mock.timers.tick(5000);
  `,
    'ulimit -n 64',
  );
  // 0.1 + 0.2 + ... + 3.2 s, and then one each 5 s
  const [count, accepted] = output.split('\n');
  assert.ok(Number(count) > 12 && Number(count) <= 18, `${output} ${errors}`);
  assert.equal(accepted, 'accepted');
  assert.equal(status, 0);
});

test('a listener keeps the process alive until it is closed or paused', () => {
  for (const [body, expected] of [
    ['', 'alive'],
    ['listener.pause();', ''],
    ['listener.pause(); listener.resume();', 'alive'],
    ['listener.close();', ''],
  ] as const) {
    const path = freshPath();
    const { output } = runScript(`
      const listener = new LinuxOs().listen(${JSON.stringify(path)});
      listener.accept({ accepted() {}, failed() {} });
      ${body}
      setTimeout(() => { console.log('alive'); process.exit(); }, 100).unref();
    `);
    assert.equal(output, expected, body);
  }
});
