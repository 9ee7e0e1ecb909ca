import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { test } from 'node:test';
import { closeFd } from './close-fd.js';
import { eventfd, write } from './libc.js';
import { NativeBuffer } from './native-buffer.js';
import { EPOLLET, EPOLLIN, Reactor, type Watch } from './reactor.js';
import { openDescriptors } from './testing/open-descriptors.js';
import { runScript } from './testing/run-script.js';

const one = new NativeBuffer(8);
one.setLong(0, 1);

function signal(fd: number): void {
  write(fd, one.address, 8);
}

/** Resolves when all that is ready now had its turn. */
async function settled(reactor: Reactor): Promise<void> {
  const fd = eventfd(1, 0);
  await new Promise<void>((resolve) => {
    const watch = reactor.watch(fd, EPOLLIN, () => {
      watch.end();
      resolve();
    });
  });
  closeFd(fd);
}

test('an edge is reported once, a level for as long as it lasts', async () => {
  const reactor = new Reactor();
  const edge = eventfd(1, 0);
  const level = eventfd(1, 0);
  let edges = 0;
  let levels = 0;
  await new Promise<void>((resolve) => {
    reactor.watch(edge, EPOLLIN | EPOLLET, () => edges++);
    reactor.watch(level, EPOLLIN, () => {
      levels++;
      if (levels === 5) resolve();
    });
  });
  assert.equal(edges, 1);
  reactor.close();
  closeFd(edge);
  closeFd(level);
});

test('a watch that an earlier callback of the same round ended is not called, nor is one on its descriptor', async () => {
  const reactor = new Reactor();
  const fds = [eventfd(1, 0), eventfd(1, 0)];
  const called: number[] = [];
  const watches: Watch[] = [];
  let wrong = 0;
  fds.forEach((fd, index) => {
    watches[index] = reactor.watch(fd, EPOLLIN | EPOLLET, () => {
      called.push(index);
      const other = 1 - index;
      watches[other]?.end();
      closeFd(fds[other]!);
      const reused = eventfd(0, 0);
      assert.equal(reused, fds[other]);
      reactor.watch(reused, EPOLLIN, () => wrong++);
    });
  });
  await settled(reactor);
  await settled(reactor);
  assert.equal(called.length, 1);
  assert.equal(wrong, 0);
  reactor.close();
  for (const fd of fds) closeFd(fd);
});

test('promises settle between two callbacks of the same round', async () => {
  const reactor = new Reactor();
  const fds = [eventfd(1, 0), eventfd(1, 0)];
  const log: string[] = [];
  for (const fd of fds) {
    reactor.watch(fd, EPOLLIN | EPOLLET, () => {
      log.push('callback');
      process.nextTick(() => log.push('tick'));
      Promise.resolve().then(() => log.push('promise'));
    });
  }
  await settled(reactor);
  assert.deepEqual(log, ['callback', 'tick', 'promise', 'callback', 'tick', 'promise']);
  reactor.close();
  for (const fd of fds) closeFd(fd);
});

test('what a callback throws is an uncaught exception, and the others are called all the same', () => {
  const { output, status } = runScript(`
    const os = new LinuxOs();
    const events = [1, 2, 3].map(() => os.createEvent());
    process.on('uncaughtException', (error) => console.log('uncaught', error.message));
    let calls = 0;
    for (const event of events) {
      event.signal();
      event.watch(() => {
        event.close();
        if (++calls === 3) console.log('all called');
        throw new Error('oops');
      });
    }
  `);
  assert.deepEqual(output.split('\n').sort(), [
    'all called',
    'uncaught oops',
    'uncaught oops',
    'uncaught oops',
  ]);
  assert.equal(status, 0);
});

test('a descriptor that can not be watched is refused, and the others are served on', async () => {
  const reactor = new Reactor();
  const file = openSync('/proc/self/exe', 'r');
  assert.throws(() => reactor.watch(file, EPOLLIN, () => {}), { code: 'EPERM', syscall: 'epoll_ctl' });
  closeSync(file);
  assert.throws(() => reactor.watch(file, EPOLLIN, () => {}), { code: 'EBADF' });
  assert.throws(() => reactor.watch(-1, EPOLLIN, () => {}), { code: 'EBADF' });
  const fd = eventfd(0, 0);
  reactor.watch(fd, EPOLLIN, () => {});
  assert.throws(() => reactor.watch(fd, EPOLLIN, () => {}), { code: 'EEXIST' });
  await settled(reactor);
  reactor.close();
  closeFd(fd);
});

test('any number of descriptors that are ready at once are served', async () => {
  const reactor = new Reactor();
  const fds = Array.from({ length: 300 }, () => eventfd(1, 0));
  const called = new Set<number>();
  await new Promise<void>((resolve) => {
    for (const fd of fds) {
      reactor.watch(fd, EPOLLIN | EPOLLET, () => {
        called.add(fd);
        if (called.size === fds.length) resolve();
      });
    }
  });
  reactor.close();
  for (const fd of fds) closeFd(fd);
});

test('the events of a watch can be changed', async () => {
  const reactor = new Reactor();
  const fd = eventfd(1, 0);
  let calls = 0;
  const watch = reactor.watch(fd, 0, () => calls++);
  await settled(reactor);
  assert.equal(calls, 0);
  watch.change(EPOLLIN | EPOLLET);
  await settled(reactor);
  assert.equal(calls, 1);
  watch.end();
  watch.change(EPOLLIN);
  signal(fd);
  await settled(reactor);
  assert.equal(calls, 1);
  reactor.close();
  closeFd(fd);
});

test('the process lives while something is watched, and no longer', () => {
  const script = (body: string) => `
    const reactor = new Reactor();
    const os = new LinuxOs();
    const event = os.createEvent();
    const watch = reactor.watch(event.fd, EPOLLIN, () => {});
    ${body}
    // Fires only if something else keeps the process alive.
    setTimeout(() => { console.log('alive'); process.exit(); }, 100).unref();
  `;
  assert.deepEqual(runScript(script('')).output, 'alive');
  assert.deepEqual(runScript(script('watch.unref(); watch.unref(); watch.ref();')).output, 'alive');
  for (const body of ['watch.unref();', 'watch.end();', 'watch.ref(); watch.unref();', 'reactor.close();']) {
    const { output, status, errors } = runScript(script(body));
    assert.deepEqual([output, status], ['', 0], `${body} ${errors}`);
  }
});

test('a closed reactor leaves nothing behind and may be closed again', async () => {
  const before = openDescriptors();
  const fd = eventfd(1, 0);
  let calls = 0;
  for (let i = 0; i < 100; i++) {
    const reactor = new Reactor();
    const watch = reactor.watch(fd, EPOLLIN, () => calls++);
    reactor.close();
    reactor.close();
    watch.end();
    watch.unref();
    assert.throws(() => reactor.watch(fd, EPOLLIN, () => {}), TypeError);
  }
  const reactor = new Reactor();
  await settled(reactor);
  reactor.close();
  closeFd(fd);
  assert.equal(calls, 0);
  assert.equal(openDescriptors(), before);
});
