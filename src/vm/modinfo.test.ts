import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { Cache } from './cache.js';
import { findKernel } from './find-kernel.js';
import { moduleTables, readModinfo } from './modinfo.js';
import { progressTo } from './progress.js';

const module = (name: string, depends: string[] = [], aliases: string[] = []) => ({ name, depends, aliases });

test('a module comes before each that needs it, when modprobe goes through its line from the right', () => {
  // d needs b and c, both need a; c needs b too.
  const { dep } = moduleTables([
    module('a'),
    module('b', ['a']),
    module('c', ['a', 'b']),
    module('d', ['b', 'c']),
  ]);
  const line = dep.split('\n').find((one) => one.startsWith('d.ko:'));
  const order = line!.slice('d.ko: '.length).split(' ').reverse();
  assert.deepEqual([...order].sort(), ['a.ko', 'b.ko', 'c.ko']);
  assert.ok(order.indexOf('a.ko') < order.indexOf('b.ko'));
  assert.ok(order.indexOf('b.ko') < order.indexOf('c.ko'));
  assert.ok(dep.startsWith('a.ko:\n'));
});

test('a module that needs one which is not there is named', () => {
  assert.throws(() => moduleTables([module('a', ['b'])]), /module a needs b/);
});

test('aliases become lines for modprobe', () => {
  const { alias } = moduleTables([module('a', [], ['virtio:d0000002Dv*', 'virtio:d00000046v*'])]);
  assert.equal(alias, 'alias virtio:d0000002Dv* a\nalias virtio:d00000046v* a\n');
});

test("Debian's own modules say what they are", async () => {
  const kernel = await findKernel(Cache.ofUser(), progressTo(process.stderr, { plain: true }));
  const files = (await readdir(kernel.modules!, { recursive: true })).filter((file) => file.endsWith('.ko'));
  const found = await Promise.all(
    files.map(async (file) => readModinfo(await readFile(path.join(kernel.modules!, file)))),
  );
  const pci = found.find(({ name }) => name === 'virtio_pci')!;
  assert.deepEqual([...pci.depends].sort(), [
    'virtio',
    'virtio_pci_legacy_dev',
    'virtio_pci_modern_dev',
    'virtio_ring',
  ]);
  assert.ok(pci.aliases.includes('pci:v00001AF4d*sv*sd*bc*sc*i*'));
  // None of them needs a module that was left behind.
  assert.ok(moduleTables(found).dep.includes('virtio_pci.ko: '));
});

test('a file that is no module is refused', () => {
  assert.throws(() => readModinfo(Buffer.from('#!/bin/sh')), RangeError);
  assert.throws(() => readModinfo(Buffer.alloc(4096)), RangeError);
});
