import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { closeFd } from '../../src/linux/close-fd.js';
import { ftruncate, memfd_create } from '../../src/linux/libc.js';
import { NativeBuffer } from '../../src/linux/native-buffer.js';
import type { FrontendAddress, GuestAddress } from '../../src/memory/address.js';
import { REQUEST } from '../../src/transports/vhost-user/messages.js';
import { encodeRegion } from '../../src/transports/vhost-user/payloads.js';
import type { RawFrontend } from '../../src/transports/vhost-user/testing/raw-frontend.js';
import { Served } from './served.js';

const MFD_HUGETLB = 4;
const GIB = 2 ** 30;
const TIB = 2 ** 40;

function memfd(size: number, flags = 0): number {
  const name = new NativeBuffer(1);
  const fd = memfd_create(name.address, flags);
  if (fd !== -1) assert.equal(ftruncate(fd, size), 0);
  return fd;
}

async function add(attacker: RawFrontend, fd: number, at: number, size: number): Promise<bigint> {
  const region = {
    guestAddress: at as GuestAddress,
    size,
    userAddress: at as FrontendAddress,
    mmapOffset: at,
  };
  attacker.send(REQUEST.ADD_MEM_REG, encodeRegion(region), { fds: [fd], needReply: true });
  return (await attacker.reply(REQUEST.ADD_MEM_REG)).getBigUint64(0, true);
}

test('memory in huge pages that there are not: refused with a reason, and everybody lives on', async (t) => {
  const free = Number(/HugePages_Free:\s+(\d+)/.exec(readFileSync('/proc/meminfo', 'latin1'))?.[1]);
  const size = (free + 1) * GIB;
  const fd = memfd(size, MFD_HUGETLB);
  if (fd === -1) {
    t.skip('no huge pages in this kernel');
    return;
  }
  const served = await Served.start();
  const attacker = served.attacker();
  assert.notEqual(await add(attacker, fd, 0, size), 0n);
  assert.match(served.attacked.warnings.join(), /ADD_MEM_REG is refused: can't map .* \(mmap: ENOMEM\)/);
  await served.roundTrip();
  attacker.close();
  closeFd(fd);
  await served.flat();
  await served.close();
});

test('4 TiB of sparse memory are mapped and given back, and cost what is used of them', async () => {
  const served = await Served.start();
  const fd = memfd(5 * TIB);
  const space = served.addressSpace();
  const { arrayBuffers } = process.memoryUsage();
  const attacker = served.attacker();
  for (let i = 0; i < 8; i++) assert.equal(await add(attacker, fd, (i * TIB) / 2, TIB / 2), 0n);
  await served.roundTrip();
  assert.ok(process.memoryUsage().arrayBuffers - arrayBuffers < 2 ** 24);
  assert.notEqual(await add(attacker, fd, 4 * TIB, TIB), 0n);
  assert.match(
    served.attacked.warnings.join(),
    /where a connection may share 4398046511104 \(--max-memory\)/,
  );
  attacker.close();
  closeFd(fd);
  await served.until(() => served.attacked.ends.length === 1);
  await served.flat();
  assert.ok(served.addressSpace() - space < 1024, 'MiB of addresses were kept');
  await served.close();
});
