import assert from 'node:assert/strict';
import { ftruncateSync, openSync, readFileSync, unlinkSync, writeSync } from 'node:fs';
import { test } from 'node:test';
import { fcntl, ftruncate, memfd_create } from './libc.js';
import { NativeBuffer } from './native-buffer.js';
import { descriptorsLeft, freshOs, openDescriptors } from './testing/open-descriptors.js';
import { openPipe } from './testing/open-pipe.js';
import { runScript } from './testing/run-script.js';

const F_DUPFD_CLOEXEC = 1030;
const F_ADD_SEALS = 1033;
const F_GET_SEALS = 1034;
const F_SEAL_SEAL = 1;
const F_SEAL_SHRINK = 2;
const F_SEAL_WRITE = 8;
const MFD_ALLOW_SEALING = 2;
const GIB = 2 ** 30;
const MIB = 2 ** 20;
const TIB = 2 ** 40;
const MFD_HUGETLB = 4;

const os = freshOs();

function memfd(size: number, flags = MFD_ALLOW_SEALING): number {
  const name = new NativeBuffer(2);
  name.bytes[0] = 0x78;
  const fd = memfd_create(name.address, flags);
  assert.equal(ftruncate(fd, size), 0);
  return fd;
}

function dup(fd: number): number {
  return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

test('what one side writes the other reads, whatever the offset in the file', () => {
  const fd = memfd(0x5000);
  const whole = os().map(dup(fd), 0, 0x5000);
  for (const [offset, size] of [
    [0, 0x5000],
    [0x1000, 0x1000],
    [0x1234, 0x2222],
    [0x4ffc, 4],
    [4, 1],
  ] as const) {
    const part = os().map(dup(fd), offset, size);
    assert.equal(part.size, size);
    assert.equal(part.view.length, size);
    whole.view.copyIn(offset, new Uint8Array([1, 2, 3, 4]).subarray(0, size), 0, Math.min(4, size));
    const bytes = new Uint8Array(Math.min(4, size));
    part.view.copyOut(0, bytes, 0, bytes.length);
    assert.deepEqual([...bytes], [1, 2, 3, 4].slice(0, size));
    part.view.copyIn(size - 1, new Uint8Array([99]), 0, 1);
    whole.view.copyOut(offset + size - 1, bytes, 0, 1);
    assert.equal(bytes[0], 99);
    assert.throws(() => part.view.copyOut(size, bytes, 0, 1), RangeError);
    part.release();
  }
  whole.release();
  os().closeFd(fd);
});

test('a file that is too short is refused and closed', () => {
  const fd = memfd(0x2000);
  const before = openDescriptors();
  for (const [offset, size] of [
    [0, 0x2001],
    [0x2000, 1],
    [0x1000, 0x1004],
    [0, 0],
    [-4096, 4096],
    [2, 2],
    [Number.NaN, 4],
    [0, Number.NaN],
    [0, 0.5],
    [0, 2 ** 53],
    [2 ** 53, 4],
  ] as const) {
    assert.throws(
      () => os().map(dup(fd), offset, size),
      { name: 'OsError', code: 'ENXIO', message: /bytes from .* of a file of 8192 bytes/ },
      `${size} from ${offset}`,
    );
  }
  assert.equal(openDescriptors(), before);
  os().closeFd(fd);
});

test('what is no file, or may not be written, is refused and closed', async () => {
  const before = openDescriptors();
  const [reader, writer] = openPipe();
  os().closeFd(writer);
  for (const fd of [
    reader,
    os().createEvent().fd,
    openSync('/proc/self/exe', 'r'),
    openSync(import.meta.filename, 'r+'),
    openSync('/', 'r'),
    openSync('/dev/zero', 'r+'),
  ]) {
    assert.throws(() => os().map(fd, 0, 4096), { code: 'ENODEV', message: /it is no memory \(a memfd, / });
  }
  const readOnly = memfd(4096);
  assert.throws(() => os().map(openSync(`/proc/self/fd/${readOnly}`, 'r'), 0, 4096), {
    code: 'EACCES',
    syscall: 'mmap',
  });
  os().closeFd(readOnly);
  const sealed = memfd(4096);
  fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE);
  assert.throws(() => os().map(sealed, 0, 4096), { code: 'EPERM', syscall: 'mmap' });
  await descriptorsLeft(before);
});

test('a file of absurd size can not make us map more than 32 TiB', () => {
  const fd = memfd(2 ** 62);
  assert.throws(() => os().map(fd, 0, 2 ** 46), { code: 'ENXIO' });
});

test('a memfd can not be shrunk any more once it is mapped, so that no access can fail', () => {
  const fd = memfd(0x3000);
  const mapping = os().map(dup(fd), 0, 0x3000);
  assert.throws(() => ftruncateSync(fd, 0), { code: 'EPERM' });
  assert.equal(mapping.view.read32(0x2ffc), 0);
  mapping.release();
  os().closeFd(fd);
});

test('a file that can not be sealed is mapped all the same', () => {
  const unsealable = memfd(9, 0);
  writeSync(unsealable, 'some text');
  const closed = memfd(9);
  writeSync(closed, 'some text');
  fcntl(closed, F_ADD_SEALS, F_SEAL_SEAL);
  for (const fd of [unsealable, closed]) {
    const mapping = os().map(fd, 4, 5);
    const text = new Uint8Array(5);
    mapping.view.copyOut(0, text, 0, 5);
    assert.equal(String(Buffer.from(text)), ' text');
    mapping.release();
  }
});

test('after the release a view reads zeros, and what is written into it harms nobody', () => {
  const { fd, mapping } = os().createMemory('release', 0x3000);
  const other = os().map(dup(fd), 0, 0x3000);
  const slice = mapping.view.slice(0x1000, 0x1000);
  mapping.view.write32(0x1000, 0xdecade);
  assert.equal(slice.read32(0), 0xdecade);
  mapping.release();
  assert.equal(slice.read32(0), 0);
  assert.equal(mapping.view.load16(0x1000), 0);
  slice.write32(0, 1);
  mapping.view.store16(0x2ffe, 1);
  mapping.release();
  assert.equal(slice.read32(0), 1);
  assert.equal(other.view.read32(0x1000), 0xdecade);
  assert.equal(other.view.read32(0x2ffc), 0);
  other.release();
  os().closeFd(fd);
});

test('shared memory is zeroed and keeps its size for ever', () => {
  const { fd, mapping } = os().createMemory('a name', 0x2345);
  assert.equal(mapping.size, 0x2345);
  assert.equal(mapping.view.read16(0x2342), 0);
  assert.throws(() => ftruncateSync(fd, 0x2000), { code: 'EPERM' });
  assert.throws(() => ftruncateSync(fd, 0x3000), { code: 'EPERM' });
  assert.equal(fcntl(fd, F_GET_SEALS, 0) & F_SEAL_SHRINK, F_SEAL_SHRINK);
  mapping.release();
  os().closeFd(fd);
});

test('shared memory that can not be is refused, and leaves nothing open', () => {
  const before = openDescriptors();
  assert.throws(() => os().createMemory('n'.repeat(300), 4096), { code: 'EINVAL', syscall: 'memfd_create' });
  assert.throws(() => os().createMemory('negative', -1), { code: 'EINVAL', syscall: 'ftruncate' });
  assert.throws(() => os().createMemory('nothing', 0), { code: 'ENXIO' });
  assert.equal(openDescriptors(), before);
});

test('memory of more than 3 GiB is one view, in windows that nobody sees', () => {
  const size = 3 * GIB + 0x1800;
  const { fd, mapping } = os().createMemory('large', size);
  const { view } = mapping;
  assert.equal(view.length, size);
  for (const border of [GIB, 2 * GIB, 3 * GIB]) {
    const near = os().map(dup(fd), border - 0x1000, 0x2000);
    for (const [step, value] of [
      [-8, 0x11111111],
      [-4, 0x22222222],
      [0, 0x33333333],
      [4, 0x44444444],
    ] as const) {
      view.write32(border + step, value + border / GIB);
      assert.equal(view.read32(border + step), value + border / GIB);
      assert.equal(near.view.read32(0x1000 + step), value + border / GIB);
    }
    near.view.store16(0x1000 - 2, 0xabcd);
    assert.equal(view.load16(border - 2), 0xabcd);
    assert.equal(view.read16(border - 2), 0xabcd);
    assert.equal(view.loadWord(border - 4) >>> 16, 0xabcd);
    view.store16(border, 0x1234);
    view.write16(border + 2, 0x5678);
    assert.equal(near.view.read32(0x1000), 0x56781234);
    const bytes = new Uint8Array(0x1000).map((_, i) => i * 3);
    const back = new Uint8Array(0x1000);
    view.copyIn(border - 0x801, bytes, 0, 0x1000);
    near.view.copyOut(0x7ff, back, 0, 0x1000);
    assert.deepEqual(back, bytes);
    back.fill(0);
    view.copyOut(border - 0x801, back, 0, 0x1000);
    assert.deepEqual(back, bytes);
    near.release();
  }
  assert.throws(() => view.read32(size), RangeError);
  assert.throws(() => view.write32(size - 2, 0), RangeError);
  assert.throws(() => view.read16(-2), RangeError);
  assert.throws(() => view.load16(Number.NaN), RangeError);
  assert.throws(() => view.copyOut(size - 1, new Uint8Array(2), 0, 2), RangeError);
  assert.throws(() => view.slice(size - 1, 2), RangeError);
  mapping.release();
  assert.equal(view.read32(GIB - 4), 0);
  assert.equal(view.read32(3 * GIB), 0);
  os().closeFd(fd);
});

test('a slice is the same memory, contiguous up to 1 MiB, and any size otherwise', () => {
  const { fd, mapping } = os().createMemory('slices', 2 * GIB + 2 * MIB);
  const { view } = mapping;
  view.write32(GIB - 4, 0x01020304);
  view.write32(GIB, 0x05060708);
  const small = view.slice(GIB - MIB + 4, MIB);
  assert.equal(small.constructor.name, 'MappedView');
  assert.equal(small.read32(MIB - 8), 0x01020304);
  assert.equal(small.read32(MIB - 4), 0x05060708);
  const large = view.slice(GIB - 8, GIB + 2 * MIB);
  assert.equal(large.length, GIB + 2 * MIB);
  assert.equal(large.read32(4), 0x01020304);
  assert.equal(large.read32(8), 0x05060708);
  large.write32(GIB + 8, 77);
  assert.equal(view.read32(2 * GIB), 77);
  assert.equal(large.slice(GIB, 16).read32(8), 77);
  assert.throws(() => large.read32(GIB + 2 * MIB), RangeError);
  assert.throws(() => large.slice(GIB, 4 * MIB), RangeError);
  assert.equal(view.slice(2 * GIB + 2 * MIB, 0).length, 0);
  mapping.release();
  os().closeFd(fd);
});

test('the addresses are given back when no view is left, released or not', () => {
  const { output, errors } = runScript(`
    import { readFileSync } from 'node:fs';
    const os = new LinuxOs();
    const size = () => Number(/VmSize:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 2 ** 20;
    const start = size();
    // In GiB: two windows, one GiB each.
    const mapped = () => Math.round(size() - start) | 0;
    async function collect(keep) {
      for (let i = 0; i < 1000 && mapped() > keep; i++) {
        globalThis.gc();
        await new Promise(setImmediate);
      }
      return mapped();
    }
    function use(release) {
      const { fd, mapping } = os.createMemory('leak', 2 ** 31);
      mapping.view.write32(2 ** 30, 1);
      if (release) mapping.release();
      os.closeFd(fd);
      return mapping.view.slice(2 ** 30, 8);
    }
    let slice = use(true);
    console.log(await collect(1), slice.read32(0));
    slice = use(false);
    console.log(await collect(1), slice.read32(0));
    slice = undefined;
    console.log(await collect(0));
  `);
  assert.equal(output, '0 0\n1 1\n0', errors);
});

test('sparse memory is not counted as if it were used: 4 TiB, and a byte in each of its GiB', () => {
  const fd = memfd(4 * TIB);
  const before = process.memoryUsage().arrayBuffers;
  const mappings = Array.from({ length: 8 }, (_, i) => os().map(dup(fd), (i * TIB) / 2, TIB / 2));
  const byte = new Uint8Array(1);
  for (const [i, { view }] of mappings.entries()) {
    for (let at = 0; at < view.length; at += GIB) {
      view.copyIn(at + 5, Uint8Array.of(i + 1), 0, 1);
      view.copyOut(at + 5, byte, 0, 1);
      assert.equal(byte[0], i + 1);
      assert.equal(view.read32(at + 4), (i + 1) << 8);
      view.write16(at + 8, i);
      assert.equal(view.read16(at + 8), i);
    }
  }
  assert.ok(process.memoryUsage().arrayBuffers - before < 16 * MIB);
  for (const mapping of mappings) mapping.release();
  assert.equal(mappings[0]!.view.read32(4), 0);
  mappings[0]!.view.write32(4, 1);
  os().closeFd(fd);
});

test('addresses that nobody looked at are given back at once: more than a process has, one after the other', () => {
  const fd = memfd(16 * TIB);
  for (let i = 0; i < 20; i++) {
    const mapping = os().map(dup(fd), 0, 16 * TIB);
    mapping.view.write32(i * GIB, 1);
    mapping.release();
  }
  os().closeFd(fd);
});

test('a window that is used much is opened, and reads the same', () => {
  const { fd, mapping } = os().createMemory('used', 2 * GIB);
  const { view } = mapping;
  for (let i = 0; i < 1000; i++) {
    view.write32(GIB + 4 * i, i);
    view.copyIn(i, Uint8Array.of(i), 0, 1);
  }
  for (let i = 0; i < 1000; i++) {
    assert.equal(view.read32(GIB + 4 * i), i);
    const byte = new Uint8Array(1);
    view.copyOut(i, byte, 0, 1);
    assert.equal(byte[0], i & 0xff);
  }
  mapping.release();
  assert.equal(view.read32(GIB + 4), 0);
  os().closeFd(fd);
});

test('huge pages that can not be reserved are refused when they are mapped, not when they are touched', (t) => {
  const name = new NativeBuffer(2);
  const fd = memfd_create(name.address, MFD_ALLOW_SEALING | MFD_HUGETLB);
  if (fd === -1) {
    t.skip('no huge pages in this kernel');
    return;
  }
  const free = Number(/HugePages_Free:\s+(\d+)/.exec(readFileSync('/proc/meminfo', 'latin1'))?.[1]);
  const size = (free + 1) * GIB;
  assert.equal(ftruncate(fd, size), 0);
  assert.throws(() => os().map(fd, 0, size), { name: 'OsError', code: 'ENOMEM', syscall: 'mmap' });
});

test('a page that a full file system does not have is an error, and what it has can be used', (t) => {
  // In a mount namespace of its own: 64 KiB of tmpfs, and a file there that claims 8 MiB. Only the file is needed: what is below /tmp
  // may be this very program.
  const { output, errors, status } = runScript(
    `
    import { openSync, ftruncateSync } from 'node:fs';
    const os = new LinuxOs();
    const fd = openSync('/proc/self/fd/7', 'r+');
    ftruncateSync(fd, 2 ** 23);
    const { view } = os.map(fd, 0, 2 ** 23);
    let touched = 0;
    let error;
    while (error === undefined && touched < 2 ** 23) {
      try {
        view.write32(touched, 1);
        touched += 4096;
      } catch (thrown) {
        error = thrown;
      }
    }
    const tries = [
      () => view.read32(touched),
      () => view.slice(touched, 4096).store16(0, 1),
      () => view.slice(touched, 4096).load16(0),
      () => view.copyOut(0, new Uint8Array(2 ** 20), 0, 2 ** 20),
      () => view.copyIn(touched, new Uint8Array(10), 0, 10),
    ].map((attempt) => { try { return attempt(); } catch ({ code }) { return code; } });
    console.log(touched, error.code, view.read32(touched - 4096), tries.join());
    `,
    `exec unshare -Urm sh -c 'mount -t tmpfs -o size=64k none /tmp && exec 7<>/tmp/memory && umount -l /tmp && exec "$0" "$@"' "$0" "$@"`,
  );
  if (status !== 0 && /unshare|mount/.test(errors)) {
    t.skip(`no mount namespace here: ${errors.trim()}`);
    return;
  }
  assert.equal(output, `65536 UNBACKED 1 ${Array(5).fill('UNBACKED').join()}`, errors);
});

for (const [name, make] of [
  ['a memfd', () => memfd(0x3000)],
  [
    'a file on tmpfs',
    () => {
      const fd = openSync(`/dev/shm/virtio-misc-${process.pid}`, 'w+');
      unlinkSync(`/dev/shm/virtio-misc-${process.pid}`);
      ftruncateSync(fd, 0x3000);
      return fd;
    },
  ],
] as const) {
  test(`what can only be read is mapped for reading: ${name}`, () => {
    const fd = make();
    writeSync(fd, Uint8Array.of(7), 0, 1, 0x1004);
    const open = (): number => openSync(`/proc/self/fd/${fd}`, 'r');
    assert.throws(() => os().map(open(), 0x1000, 0x1000), { code: 'EACCES' });
    const mapping = os().map(open(), 0x1000, 0x1000, true);
    const bytes = new Uint8Array(2);
    mapping.view.copyOut(4, bytes, 0, 2);
    assert.deepEqual([...bytes], [7, 0]);
    mapping.release();
    mapping.view.copyOut(4, bytes, 0, 2);
    assert.deepEqual([...bytes], [0, 0]);
    os().closeFd(fd);
  });
}
