import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GuestAddress } from '../../../memory/address.js';
import { GuestMemory } from '../../../memory/guest-memory.js';
import { MappedView } from '../../../memory/mapped-view.js';
import { openDriver } from '../../../virtio/driver.js';
import { VIRTIO_F_NOTIF_CONFIG_DATA, VIRTIO_F_NOTIFICATION_DATA } from '../../../virtio/features.js';
import { FakeClock } from '../../../virtio/testing/fake-clock.js';
import type { PciOptions } from '../device/pci-host.js';
import { VirtioPciFunction } from '../device/virtio-function.js';
import * as pci from '../pci-registers.js';
import { DirectPlatform } from '../testing/direct-platform.js';
import { ProbeDevice } from '../testing/probe-device.js';
import * as virtio from '../virtio-pci.js';
import { openPciDriver } from './driver.js';
import { probeFunction } from './probe.js';

// What a driver does to the registers, access by access.

/** One access to the registers' BAR: `W 14 1 3` writes 3 to the byte at 0x14. */
interface Access {
  readonly kind: 'R' | 'W';
  readonly offset: number;
  readonly length: number;
  readonly value: number;
}

/** A function that tells of each access to its registers, and of each write to its configuration space. */
class ToldPlatform extends DirectPlatform {
  readonly accesses_: Access[] = [];
  readonly configWrites: number[] = [];
  readonly memory: GuestMemory = new GuestMemory();

  constructor(device: ProbeDevice = new ProbeDevice(), options: PciOptions = {}) {
    super();
    const start = 0x1_0000_0000 as GuestAddress;
    this.memory.add({ start, view: new MappedView(new ArrayBuffer(1 << 20)) });
    const environment = {
      clock: new FakeClock(),
      defer: queueMicrotask,
      print: () => {},
      warn: (line: string) => assert.fail(line),
    };
    const host = {
      raise: (vector: number) => this.raise(vector),
      intx: (asserted: boolean) => this.intx(asserted),
      perform: (work: () => void) => work(),
    };
    this.function = new VirtioPciFunction(device, this.memory, environment, host, options);
  }

  override async writeConfig(offset: number, bytes: Uint8Array): Promise<void> {
    for (let at = offset; at < offset + bytes.length; at++) this.configWrites.push(at);
    await super.writeConfig(offset, bytes);
  }

  override async readBar(bar: number, offset: number, length: number): Promise<Uint8Array> {
    if (bar === 0) this.accesses_.push({ kind: 'R', offset, length, value: 0 });
    return super.readBar(bar, offset, length);
  }

  override postBar(bar: number, offset: number, bytes: Uint8Array): void {
    const value = bytes.reduceRight((above, byte) => above * 256 + byte, 0);
    if (bar === 0) this.accesses_.push({ kind: 'W', offset, length: bytes.length, value });
    super.postBar(bar, offset, bytes);
  }

  /** What was written to a field of the common configuration, with how many accesses came before. */
  written(field: keyof typeof virtio.COMMON): { at: number; value: number }[] {
    return this.accesses_.flatMap(({ kind, offset, value }, at) =>
      kind === 'W' && offset === virtio.COMMON[field] ? [{ at, value }] : [],
    );
  }
}

const WANTS = { id: 70, features: 0x5n, queues: 2 };
/** Where the layout of our function has the structures behind the common configuration. */
const ISR = virtio.COMMON.size;
const NOTIFY = ISR + 4;
const DEVICE = NOTIFY + 8 + ((NOTIFY + 8) % 8);

async function opened(options: PciOptions = {}): Promise<ToldPlatform> {
  const platform = new ToldPlatform(new ProbeDevice(), options);
  const driver = await openDriver(await openPciDriver(platform, platform.memory), WANTS);
  assert.deepEqual(await driver.queues[1]!.request(Uint8Array.of(1, 2), 2), Uint8Array.of(2, 1));
  await driver.writeConfig(9, Uint8Array.of(1, 2, 3, 4, 5, 6, 7));
  await driver.readConfig(0, 16);
  await driver.close();
  return platform;
}

test('3.1.1: the status takes its steps in order, features before FEATURES_OK, queues before DRIVER_OK, kicks behind it', async () => {
  const platform = await opened();
  const status = platform.written('device_status');
  assert.deepEqual(
    status.map(({ value }) => value),
    [0, 1, 3, 11, 15, 0, 1, 3],
  );
  const [reset, acknowledge, driver, featuresOk, driverOk, end] = status.map(({ at }) => at);
  const next = platform.accesses_.slice(reset! + 1, acknowledge).filter(({ kind }) => kind === 'R');
  assert.deepEqual(next[0], { kind: 'R', offset: virtio.COMMON.device_status, length: 1, value: 0 });
  assert.equal(platform.accesses_[featuresOk! + 1]!.offset, virtio.COMMON.device_status);
  const during = (from: number, to: number, field: keyof typeof virtio.COMMON): number[] =>
    platform
      .written(field)
      .filter(({ at }) => at > from && at < to)
      .map(({ value }) => value);
  assert.equal(during(driver!, featuresOk!, 'driver_feature').length, 2);
  assert.equal(platform.written('driver_feature').length, 2);
  assert.deepEqual(during(featuresOk!, driverOk!, 'queue_enable'), [1, 1]);
  assert.equal(platform.written('queue_enable').length, 2);
  // Each queue's place is complete before it is enabled.
  for (const [index, { at }] of platform.written('queue_enable').entries()) {
    const selected = platform.written('queue_select').findLast((write) => write.at < at)!;
    assert.equal(selected.value, index);
    assert.deepEqual(during(selected.at, at, 'queue_size'), [64]);
    for (const field of ['queue_desc', 'queue_driver', 'queue_device'] as const) {
      assert.equal(during(selected.at, at, field).length, 1);
    }
  }
  const offsets = (from: number, to: number): number[] =>
    platform.accesses_.slice(from, to).flatMap(({ kind, offset }) => (kind === 'W' ? [offset] : []));
  assert.ok(offsets(0, driverOk!).every((offset) => offset < virtio.COMMON.size));
  assert.ok(offsets(driverOk!, end!).some((offset) => offset >= NOTIFY && offset < DEVICE));
});

test('4.1.3.1: each field is accessed in its own width, aligned; what is the device’s is not written, nor ISR read with MSI-X', async () => {
  const widths = new Map<number, number>([
    ...[0, 4, 8, 12].map((offset) => [offset, 4] as const),
    ...[16, 18, 22, 24, 26, 28, 30].map((offset) => [offset, 2] as const),
    ...[20, 21].map((offset) => [offset, 1] as const),
    ...[32, 36, 40, 44, 48, 52].map((offset) => [offset, 4] as const),
    ...[56, 58].map((offset) => [offset, 2] as const),
  ]);
  const readOnly: readonly number[] = [
    virtio.COMMON.device_feature,
    virtio.COMMON.num_queues,
    virtio.COMMON.config_generation,
    virtio.COMMON.queue_notify_off,
    virtio.COMMON.queue_notif_config_data,
  ];
  for (const options of [{}, { vectors: 0 }]) {
    const { accesses_: accesses } = await opened(options);
    for (const { kind, offset, length } of accesses) {
      const what = `${kind} of ${length} bytes at ${offset}`;
      if (offset < virtio.COMMON.size) assert.equal(length, widths.get(offset), what);
      else assert.ok((length === 1 || length === 2 || length === 4) && offset % length === 0, what);
      if (kind === 'W') assert.ok(!readOnly.includes(offset), what);
    }
    const ofDevice = accesses.filter(({ offset }) => offset >= DEVICE).map(({ length }) => length);
    assert.deepEqual(ofDevice, [1, 2, 4, 4, 4, 4, 4]);
    assert.equal(
      accesses.some(({ offset }) => offset === ISR),
      options.vectors === 0,
    );
  }
});

/** The notifications that a driver with these ring features sends of queue 1 in three requests. */
async function notified(ringFeatures: bigint): Promise<Access[]> {
  const platform = new ToldPlatform();
  const driver = await openDriver(await openPciDriver(platform, platform.memory), { ...WANTS, ringFeatures });
  for (let i = 0; i < 3; i++) await driver.queues[1]!.request(Uint8Array.of(1, 2), 2);
  await driver.close();
  return platform.accesses_.filter(({ offset }) => offset >= NOTIFY && offset < DEVICE);
}

/** What queue 1 is called with NOTIF_CONFIG_DATA. */
const NAME = 0x8001;

test('4.1.5.2.1: a notification is the queue’s index, or the data that it was given instead, of 16 bits, at the queue’s place', async () => {
  for (const [features, value] of [
    [0n, 1],
    [VIRTIO_F_NOTIF_CONFIG_DATA, NAME],
  ] as const) {
    const kick = { kind: 'W', offset: NOTIFY + 4, length: 2, value };
    assert.deepEqual(await notified(features), [kick, kick, kick]);
  }
});

test('4.1.5.2.1: with NOTIFICATION_DATA it has 32 bits, the upper ones with the place that comes next', async () => {
  for (const [features, name] of [
    [0n, 1],
    [VIRTIO_F_NOTIF_CONFIG_DATA, NAME],
  ] as const) {
    const kicks = await notified(features | VIRTIO_F_NOTIFICATION_DATA);
    assert.deepEqual(
      kicks,
      [1, 2, 3].map((next) => ({ kind: 'W', offset: NOTIFY + 4, length: 4, value: next * 0x1_0000 + name })),
    );
  }
});

test('4.1.4.3: what has no register in a structure from before VIRTIO 1.2 is not accepted', async () => {
  const platform = new ToldPlatform();
  const real = platform.readConfig.bind(platform);
  const config = platform.function.readConfig(0, 256);
  const common = [...config.keys()].find(
    (at) => at >= 64 && config[at] === pci.PCI_CAP_ID_VNDR && config[at + virtio.CAP.cfg_type] === 1,
  )!;
  platform.readConfig = async (offset, length) => {
    const bytes = await real(offset, length);
    if (offset === common + virtio.CAP.length) bytes[0] = virtio.COMMON.minimum;
    return bytes;
  };
  const driver = await openDriver(await openPciDriver(platform, platform.memory), WANTS);
  assert.deepEqual(await driver.queues[1]!.request(Uint8Array.of(1, 2), 2), Uint8Array.of(2, 1));
  assert.ok(platform.accesses_.every(({ offset }) => offset < virtio.COMMON.minimum || offset >= ISR));
  await assert.rejects(driver.resetQueue(0), { code: 'REFUSED' });
  await driver.close();
});

test('4.1.4.1: the first structure that can be used is taken, with a longer capability, in a longer structure; none is written to', async () => {
  const platform = new ToldPlatform();
  const config = platform.function.readConfig(0, 256);
  const caps = [...Array(256).keys()].filter(
    (at) => at >= 64 && config[at] === pci.PCI_CAP_ID_VNDR && config[at + virtio.CAP.cap_len]! >= 16,
  );
  const common = caps.find((at) => config[at + virtio.CAP.cfg_type] === 1)!;
  // A second of the same type, which the driver must not prefer, on the place of the ISR structure's capability.
  const isr = caps.find((at) => config[at + virtio.CAP.cfg_type] === 3)!;
  const image = config.slice();
  image.set(config.subarray(common + 3, common + 16), isr + 3);
  image[isr + virtio.CAP.offset + 1] = 0x08;
  image[common + virtio.CAP.cap_len] = 200;
  image[common + virtio.CAP.length + 1] = 0x0f;
  const window = caps.find((at) => config[at + virtio.CAP.cfg_type] === 5)!;
  image.set(config.subarray(isr + 3, isr + 16), window + 3);
  const real = platform.readConfig.bind(platform);
  platform.readConfig = async (offset, length) =>
    offset >= 64 ? image.slice(offset, offset + length) : real(offset, length);
  const found = await probeFunction(platform);
  assert.deepEqual([found.common.offset, found.common.length], [0, 0xf00 + virtio.COMMON.size]);
  assert.equal(found.isr.offset, ISR);

  const { configWrites } = await opened();
  const msix = [...Array(256).keys()].find((at) => at >= 64 && config[at] === pci.PCI_CAP_ID_MSIX)!;
  const allowed = [pci.PCI_COMMAND, msix + pci.PCI_MSIX_FLAGS].flatMap((at) => [at, at + 1]);
  for (let at = pci.PCI_BASE_ADDRESS_0; at < pci.PCI_BASE_ADDRESS_0 + 24; at++) allowed.push(at);
  assert.deepEqual(
    configWrites.filter((at) => !allowed.includes(at)),
    [],
  );
});

test('4.1.2.2: any PCI id of virtio is one, whatever its revision', async () => {
  const platform = new ToldPlatform(new ProbeDevice(1, 4));
  const real = platform.readConfig.bind(platform);
  for (const [device, subsystem, id] of [
    [0x1040, 0x1100, 0],
    [0x1044, 0x1100, 4],
    [0x107f, 0x40, 63],
    [0x1000, 1, 1],
    [0x1005, 4, 4],
    [0x103f, 70, 70],
  ] as const) {
    for (const revision of [0, 1, 255]) {
      const image = platform.function.readConfig(0, 256);
      new DataView(image.buffer).setUint16(pci.PCI_DEVICE_ID, device, true);
      new DataView(image.buffer).setUint16(pci.PCI_SUBSYSTEM_ID, subsystem, true);
      image[pci.PCI_REVISION_ID] = revision;
      platform.readConfig = async (offset, length) =>
        offset >= pci.PCI_BASE_ADDRESS_0 && offset < pci.PCI_BASE_ADDRESS_0 + 24
          ? real(offset, length)
          : image.slice(offset, offset + length);
      assert.equal((await probeFunction(platform)).deviceId, id);
    }
  }
});

test('2.1.1: a device that can’t be used is told FAILED and nothing more, and is reset before it is tried again', async () => {
  const platform = new ToldPlatform();
  for (const wants of [
    { ...WANTS, queues: 3 },
    { ...WANTS, ringFeatures: 1n << 28n, features: 0x5n },
  ]) {
    platform.accesses_.length = 0;
    const refusing = await openPciDriver(platform, platform.memory);
    refusing.offeredFeatures = async () => (wants.queues === 3 ? 0x5n | (1n << 32n) : 0x5n);
    await assert.rejects(openDriver(refusing, wants), { code: 'REFUSED' });
    const status = platform.written('device_status');
    assert.equal(status.at(-1)!.value & virtio.VIRTIO_CONFIG_S_FAILED, virtio.VIRTIO_CONFIG_S_FAILED);
    assert.ok(status.every(({ value }) => (value & virtio.VIRTIO_CONFIG_S_DRIVER_OK) === 0));
    const after = platform.accesses_.slice(status.at(-1)!.at + 1);
    assert.deepEqual(
      after.filter(({ kind }) => kind === 'W'),
      [],
    );
  }
  platform.accesses_.length = 0;
  const driver = await openDriver(await openPciDriver(platform, platform.memory), WANTS);
  assert.equal(platform.written('device_status')[0]!.value, 0);
  await driver.close();
});
