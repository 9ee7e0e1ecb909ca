import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GuestAddress } from '../../memory/address.js';
import { GuestMemory } from '../../memory/guest-memory.js';
import { MappedView } from '../../memory/mapped-view.js';
import { openDriver } from '../../virtio/driver.js';
import type { SharedMemorySpec } from '../../virtio/shared-memory.js';
import { FakeClock } from '../../virtio/testing/fake-clock.js';
import { FakeOs } from '../testing/fake-os.js';
import { VirtioPciFunction } from './device/virtio-function.js';
import { openPciDriver } from './driver/driver.js';
import { probeFunction } from './driver/probe.js';
import * as pci from './pci-registers.js';
import { DirectPlatform } from './testing/direct-platform.js';
import { FunctionBench } from './testing/function-bench.js';
import { ProbeDevice } from './testing/probe-device.js';
import * as virtio from './virtio-pci.js';

const PAGE = 4096;
const REGIONS: readonly SharedMemorySpec[] = [
  { id: 3, size: 3 * PAGE },
  { id: 0, size: PAGE, files: true },
  { id: 200, size: 2 * PAGE },
];

function withRegions(sharedMemory: readonly SharedMemorySpec[]): ProbeDevice {
  return Object.assign(new ProbeDevice(), { sharedMemory });
}

function bench(device: ProbeDevice, os?: FakeOs) {
  const memory = new GuestMemory();
  memory.add({ start: 0x1_0000_0000 as GuestAddress, view: new MappedView(new ArrayBuffer(1 << 20)) });
  const platform = new DirectPlatform();
  platform.function = new VirtioPciFunction(
    device,
    memory,
    { clock: new FakeClock(), defer: queueMicrotask, print: () => {}, warn: (line) => assert.fail(line), os },
    {
      raise: (vector) => platform.raise(vector),
      intx: (asserted) => platform.intx(asserted),
      perform: (work) => work(),
    },
  );
  return { memory, platform };
}

const WANTS = { id: 70, features: 0x5n, queues: 2 };

test('4.1.4.7, 4.1.4.7.1: a capability for each shared memory region, each with an id of its own, inside a BAR of 64 bits', async () => {
  const b = new FunctionBench(withRegions(REGIONS));
  const found = b
    .capabilities()
    .filter(
      ({ id, at }) =>
        id === pci.PCI_CAP_ID_VNDR &&
        b.config(at + virtio.CAP.cfg_type, 1) === virtio.VIRTIO_PCI_CAP_SHARED_MEMORY_CFG,
    )
    .map(({ at }) => ({
      length: b.config(at + virtio.CAP.cap_len, 1),
      bar: b.config(at + virtio.CAP.bar, 1),
      id: b.config(at + virtio.CAP.id, 1),
      place: [virtio.CAP.offset, virtio.CAP.offset_hi, virtio.CAP.length, virtio.CAP.length_hi].map((field) =>
        b.config(at + field, 4),
      ),
    }));
  assert.deepEqual(found, [
    { length: 24, bar: 2, id: 3, place: [0, 0, 3 * PAGE, 0] },
    { length: 24, bar: 2, id: 0, place: [3 * PAGE, 0, PAGE, 0] },
    { length: 24, bar: 2, id: 200, place: [4 * PAGE, 0, 2 * PAGE, 0] },
  ]);
  const { platform } = bench(withRegions(REGIONS));
  const { bars, shared } = await probeFunction(platform);
  assert.deepEqual(bars[2], { index: 2, kind: 'memory', size: 8 * PAGE, wide: true });
  assert.deepEqual([...shared.keys()], [3, 0, 200]);
});

test('4.1.4.7: a region of 1 TiB has a BAR of its size, above 4 GiB', async () => {
  const size = 2 ** 40;
  const device = withRegions([{ id: 1, size, files: true }]);
  const { platform } = bench(device);
  const { bars, shared } = await probeFunction(platform);
  assert.equal(bars[2]!.size, size);
  assert.deepEqual(shared.get(1), { id: 1, bar: 2, offset: 0, length: size });
  const upper = await platform.readConfig(pci.PCI_BASE_ADDRESS_0 + 4 * 3, 4);
  assert.equal(new DataView(upper.buffer, upper.byteOffset).getUint32(0, true), 2 ** 8);
});

test('4.1.4.7: more regions than the configuration space has room for are refused', () => {
  const many = [1, 2, 3, 4, 5].map((id) => ({ id, size: PAGE }));
  assert.throws(() => new FunctionBench(withRegions(many)), /capability list is full/);
});

test('2.10: both ends see the same bytes, of files too, until a reset takes these out', async () => {
  const os = new FakeOs();
  const device = withRegions(REGIONS);
  const { memory, platform } = bench(device, os);
  const transport = await openPciDriver(platform, memory);
  const driver = await openDriver(transport, WANTS);
  const regions = await driver.sharedMemory();
  assert.deepEqual(
    [...regions].map(([id, { size }]) => [id, size]),
    [
      [3, 3 * PAGE],
      [0, PAGE],
      [200, 2 * PAGE],
    ],
  );
  const ours = device.host!.sharedMemory;
  ours.get(200)!.write(2 * PAGE - 2, Uint8Array.of(1, 2));
  assert.deepEqual([...(await regions.get(200)!.read(2 * PAGE - 2, 2))], [1, 2]);
  await regions.get(3)!.write(7, Uint8Array.of(8, 9));
  const read = new Uint8Array(2);
  ours.get(3)!.read(7, read);
  assert.deepEqual([...read], [8, 9]);
  await assert.rejects(regions.get(3)!.read(3 * PAGE - 1, 2), { code: 'UNMAPPED' });

  const { fd, mapping } = os.createMemory('file', PAGE);
  mapping.view.copyIn(0, Uint8Array.of(77), 0, 1);
  const files = regions.get(0)!;
  assert.deepEqual([...(await files.read(0, 1))], [0], 'nothing yet');
  const again = os.duplicate(fd);
  await ours.get(0)!.map({ offset: 0, length: PAGE, fd });
  await assert.rejects(ours.get(0)!.map({ offset: 0, length: PAGE, fd: again }), /something is mapped/);
  await files.write(0, Uint8Array.of(78));
  assert.deepEqual([...(await files.read(0, 1))], [77], 'not to be written');
  await ours.get(0)!.unmap(0, PAGE);
  assert.deepEqual([...(await files.read(0, 1))], [0]);
  await ours
    .get(0)!
    .map({ offset: 0, length: PAGE, fd: os.createMemory('another', PAGE).fd, writable: true });
  await files.write(0, Uint8Array.of(78));
  assert.deepEqual([...(await files.read(0, 1))], [78]);
  await transport.reset();
  assert.deepEqual([...(await files.read(0, 1))], [0]);
  assert.deepEqual([...(await regions.get(3)!.read(7, 2))], [8, 9], 'memory stays');
  platform.function.close();
  assert.equal(os.openFds, 0);
});

test('4.1.4.7: what a function says of regions that can not be is left out', async () => {
  const { platform } = bench(
    withRegions([
      { id: 1, size: PAGE },
      { id: 2, size: PAGE },
    ]),
  );
  const honest = platform.function.readConfig(0, 256);
  const caps: number[] = [];
  for (let at = honest[0x34]!; at !== 0; at = honest[at + 1]!)
    if (honest[at] === 9 && honest[at + 3] === 8) caps.push(at);
  const probe = async (change: (bytes: Uint8Array, cap: number) => void): Promise<number[]> => {
    const access = {
      readConfig: async (offset: number, length: number) => {
        const bytes = (await platform.readConfig(0, 256)).slice();
        change(bytes, caps[1]!);
        return bytes.slice(offset, offset + length);
      },
      writeConfig: platform.writeConfig.bind(platform),
      readBar: platform.readBar.bind(platform),
      writeBar: platform.writeBar.bind(platform),
    };
    return [...(await probeFunction(access)).shared.keys()];
  };
  assert.deepEqual(await probe(() => {}), [1, 2]);
  for (const change of [
    (bytes: Uint8Array, cap: number) => bytes.set([23], cap + 2),
    (bytes: Uint8Array, cap: number) => bytes.set([5], cap + 4),
    (bytes: Uint8Array, cap: number) => bytes.set([1], cap + 5),
    (bytes: Uint8Array, cap: number) => bytes.set([1], cap + 16),
    (bytes: Uint8Array, cap: number) => bytes.set([0xff], cap + 23),
    (bytes: Uint8Array, cap: number) => bytes.set([0, 0, 0, 0], cap + 12),
  ])
    assert.deepEqual(await probe(change), [1]);
});

test('2.10: a function with shared memory is not moved', () => {
  const b = new FunctionBench(withRegions(REGIONS));
  assert.throws(() => b.function.save(), /shared memory is not moved/);
});
