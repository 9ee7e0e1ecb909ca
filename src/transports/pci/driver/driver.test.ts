import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { GuestAddress } from '../../../memory/address.js';
import { GuestMemory } from '../../../memory/guest-memory.js';
import { MappedView } from '../../../memory/mapped-view.js';
import { type Driver, openDriver } from '../../../virtio/driver.js';
import { TransportError } from '../../../virtio/driver-transport.js';
import { ALL_RING_FEATURES, VIRTIO_F_RING_PACKED } from '../../../virtio/features.js';
import { FakeClock } from '../../../virtio/testing/fake-clock.js';
import type { PciOptions } from '../device/pci-host.js';
import { VirtioPciFunction } from '../device/virtio-function.js';
import * as pci from '../pci-registers.js';
import { DirectPlatform } from '../testing/direct-platform.js';
import { ProbeDevice } from '../testing/probe-device.js';
import * as virtio from '../virtio-pci.js';
import { openPciDriver, type PciDriverOptions } from './driver.js';
import { probeFunction } from './probe.js';

/** A function, and a platform to reach it. */
function bench(options: PciOptions = {}, device: ProbeDevice = new ProbeDevice(), ringFeatures?: bigint) {
  const memory = new GuestMemory();
  memory.add({ start: 0x1_0000_0000 as GuestAddress, view: new MappedView(new ArrayBuffer(1 << 20)) });
  const warnings: string[] = [];
  const platform = new DirectPlatform();
  platform.function = new VirtioPciFunction(
    device,
    memory,
    {
      clock: new FakeClock(),
      defer: queueMicrotask,
      print: () => {},
      warn: (line) => void warnings.push(line),
      ringFeatures,
    },
    {
      raise: (vector) => platform.raise(vector),
      intx: (asserted) => platform.intx(asserted),
      perform: (work) => work(),
    },
    options,
  );
  return { device, memory, platform, warnings };
}

const WANTS = { id: 70, features: 0x5n, queues: 2 };

async function opened(
  options: PciOptions = {},
  driverOptions: PciDriverOptions = {},
): Promise<{ driver: Driver; device: ProbeDevice; warnings: string[] }> {
  const { device, memory, platform, warnings } = bench(options);
  const driver = await openDriver(await openPciDriver(platform, memory, driverOptions), WANTS);
  return { driver, device, warnings };
}

function isTransportError(code: string, pattern: RegExp) {
  return (error: unknown): boolean =>
    error instanceof TransportError && error.code === code && pattern.test(error.message);
}

for (const [name, options, driverOptions] of [
  ['a vector for each queue', {}, {}],
  ['two vectors', { vectors: 2 }, {}],
  ['one vector, which is as good as none', { vectors: 1 }, {}],
  ['no MSI-X', { vectors: 0 }, {}],
  ['MSI-X that the driver does not want', {}, { vectors: 0 }],
  ['an I/O BAR', { vectors: 0, kind: 'io', bar: 2 }, {}],
  ['an I/O BAR and MSI-X', { kind: 'io' }, {}],
] as [string, PciOptions, PciDriverOptions][]) {
  test(`3.1.1: a driver finds the device, sets it up and uses it, with ${name}`, async () => {
    const { driver, device, warnings } = await opened(options, driverOptions);
    assert.equal(driver.features, 0x5n);
    for (const queue of driver.queues) {
      assert.deepEqual(await queue.request(Uint8Array.of(1, 2, 3), 3), Uint8Array.of(3, 2, 1));
    }
    let changes = 0;
    const changed = new Promise<void>((resolve) => {
      driver.onConfigChange(() => {
        changes += 1;
        resolve();
      });
    });
    device.config.view.setUint32(0, 77, true);
    device.host!.configChanged();
    await changed;
    assert.equal(changes, 1);
    assert.deepEqual([...(await driver.readConfig(0, 5))], [77, 0, 0, 0, 0]);
    await driver.writeConfig(9, Uint8Array.of(1, 2, 3, 4, 5));
    assert.deepEqual([...(await driver.readConfig(8, 7))], [0, 1, 2, 3, 4, 5, 0]);
    assert.deepEqual(warnings, []);
    await driver.close();
    assert.equal(device.calls.at(-1), 'reset');
  });
}

test('2.1.2: a device that needs a reset says so, and one that was reset can be used again', async () => {
  const { memory, platform } = bench();
  const transport = await openPciDriver(platform, memory);
  const failures: string[] = [];
  transport.onFailure((error) => failures.push(error.code));
  await openDriver(transport, WANTS);
  transport.onFailure((error) => failures.push(error.code));
  // An available index far ahead of what the ring holds.
  const driverArea = await queueAddress(platform, 0, virtio.COMMON.queue_driver);
  memory.write((driverArea + 2) as GuestAddress, Uint8Array.of(0xff, 0x7f));
  platform.function.writeBar(0, 0x44, Uint8Array.of(0, 0));
  await settle();
  assert.deepEqual(failures, ['NEEDS_RESET']);
  await transport.reset();
  assert.equal(await transport.maxQueueSize(0), 64);
});

test('3.1.1: features that the device does not take are refused', async () => {
  const { memory, platform } = bench();
  const transport = await openPciDriver(platform, memory);
  await transport.reset();
  await assert.rejects(transport.acceptFeatures(0x2n), isTransportError('REFUSED', /features 0x2/));
});

test('there is no queue behind the last, and rings start from 0', async () => {
  const { memory, platform } = bench();
  const transport = await openPciDriver(platform, memory);
  await transport.reset();
  assert.equal(await transport.maxQueueSize(2), 0);
  const ring = {
    size: 8,
    descriptorArea: 0x1_0000_0000 as GuestAddress,
    driverArea: 0x1_0000_0100 as GuestAddress,
    deviceArea: 0x1_0000_0200 as GuestAddress,
  };
  await assert.rejects(
    transport.startQueue(0, ring, 5, () => {}),
    RangeError,
  );
  await assert.rejects(transport.readConfig(12, 5), RangeError);
});

test('4.1.2: what is no virtio device is refused', async () => {
  const { platform } = bench();
  const real = platform.readConfig.bind(platform);
  platform.readConfig = async (offset, length) =>
    offset === pci.PCI_VENDOR_ID ? Uint8Array.of(0x86, 0x80).subarray(0, length) : real(offset, length);
  await assert.rejects(probeFunction(platform), isTransportError('REFUSED', /8086:103f is no virtio device/));
});

test('4.1.4: structures are refused that lie outside of their BAR or are too small; later ones are taken', async () => {
  const { platform } = bench();
  const config = platform.function.readConfig(0, 256);
  const common = [...Array(256).keys()].find(
    (at) => at >= 64 && config[at] === pci.PCI_CAP_ID_VNDR && config[at + virtio.CAP.cfg_type] === 1,
  )!;
  const spoil = async (offset: number, ...bytes: number[]): Promise<unknown> => {
    const image = config.slice();
    image.set(bytes, common + offset);
    return probeFunction(imagePlatform(image));
  };
  const refused = isTransportError('REFUSED', /no usable common configuration/);
  assert.ok(await spoil(virtio.CAP.offset));
  await assert.rejects(spoil(virtio.CAP.offset, 0xff, 0xff, 0xff, 0xff), refused);
  await assert.rejects(spoil(virtio.CAP.length, 0x37, 0, 0, 0), refused);
  await assert.rejects(spoil(virtio.CAP.length, 0xff, 0xff, 0xff, 0xff), refused);
  await assert.rejects(spoil(virtio.CAP.bar, 6), refused);
  await assert.rejects(spoil(virtio.CAP.cap_len, 15), refused);
  await assert.rejects(spoil(virtio.CAP.cfg_type, 99), refused);
  await assert.rejects(spoil(virtio.CAP.cap_next, common), isTransportError('PROTOCOL', /loops/));
});

test('4.1.4: a capability is taken up to the last byte of the configuration space, and none past it is read', async () => {
  const { platform } = bench();
  const config = platform.function.readConfig(0, 256);
  const virtioCaps = [...Array(256).keys()].filter(
    (at) =>
      at >= 64 && config[at] === pci.PCI_CAP_ID_VNDR && config[at + virtio.CAP.cap_len]! >= virtio.CAP.size,
  );
  const common = virtioCaps.find((at) => config[at + virtio.CAP.cfg_type] === 1)!;
  const last = virtioCaps.find((at) => config[at + virtio.CAP.cap_next] === 0)!;
  /** The common configuration's capability is only there. */
  const movedTo = async (place: number): Promise<unknown> => {
    const image = config.slice();
    const moved = config.slice(common, common + virtio.CAP.size);
    moved[virtio.CAP.cap_next] = 0;
    image.set(moved.subarray(0, 256 - place), place);
    image[common + virtio.CAP.cfg_type] = 99;
    image[last + virtio.CAP.cap_next] = place;
    const behind = imagePlatform(image);
    const read = behind.readConfig.bind(behind);
    behind.readConfig = (offset, length) => {
      assert.ok(offset + length <= 256, `${length} bytes at ${offset}`);
      return read(offset, length);
    };
    return probeFunction(behind);
  };
  assert.ok(await movedTo(0xf0));
  await assert.rejects(movedTo(0xf4), isTransportError('REFUSED', /no usable common configuration/));
});

test('a device that never finishes a reset is given up', async () => {
  const { memory, platform } = bench();
  const transport = await openPciDriver(platform, memory);
  const real = platform.readBar.bind(platform);
  platform.readBar = async (bar, offset, length) =>
    offset === virtio.COMMON.device_status ? Uint8Array.of(1) : real(bar, offset, length);
  await assert.rejects(transport.reset(), isTransportError('TIMEOUT', /finish its reset/));
});

test('4.1.4.4: a queue that is notified outside of the structure is refused', async () => {
  const { memory, platform } = bench();
  const transport = await openPciDriver(platform, memory);
  const real = platform.readBar.bind(platform);
  platform.readBar = async (bar, offset, length) =>
    offset === virtio.COMMON.queue_notify_off ? Uint8Array.of(2, 0) : real(bar, offset, length);
  await assert.rejects(
    openDriver(transport, WANTS),
    isTransportError('PROTOCOL', /notified at 8 of 8 bytes/),
  );
});

test('4.1.5.1.2: a device that does not give a vector is refused', async () => {
  const { memory, platform } = bench();
  const transport = await openPciDriver(platform, memory);
  const real = platform.readBar.bind(platform);
  platform.readBar = async (bar, offset, length) =>
    offset === virtio.COMMON.config_msix_vector ? Uint8Array.of(0xff, 0xff) : real(bar, offset, length);
  await assert.rejects(transport.reset(), isTransportError('REFUSED', /no MSI-X vector 0/));
});

test('whatever a configuration space holds, it is understood or refused, in bounded time', async () => {
  const image = bench().platform.function.readConfig(0, 256);
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(255), fc.nat(255)), { maxLength: 12 }),
      fc.boolean(),
      async (changes, random) => {
        const spoilt = image.slice();
        for (const [offset, value] of changes) spoilt[offset] = value;
        if (random) for (let i = 64; i < 256; i++) spoilt[i] = (spoilt[i]! * 167 + i * 31) & 0xff;
        const platform = imagePlatform(spoilt);
        try {
          await probeFunction(platform);
        } catch (error) {
          assert.ok(error instanceof TransportError, String(error));
        }
        assert.ok(platform.accesses < 1000, `${platform.accesses} accesses`);
      },
    ),
    { numRuns: 500 },
  );
});

test('whatever the registers say, opening a driver succeeds or fails with a TransportError', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(400), fc.uint8Array({ minLength: 4, maxLength: 4 })), { maxLength: 4 }),
      async (lies) => {
        const { memory, platform } = bench();
        const real = platform.readBar.bind(platform);
        let reads = 0;
        platform.readBar = async (bar, offset, length) => {
          const lie = lies.find(([at]) => at === reads);
          reads += 1;
          return lie === undefined ? real(bar, offset, length) : lie[1].slice(0, length);
        };
        try {
          const driver = await openDriver(await openPciDriver(platform, memory), WANTS);
          await driver.close();
        } catch (error) {
          assert.ok(error instanceof TransportError, String(error));
        }
      },
    ),
    { numRuns: 300 },
  );
});

/** A configuration space that is just bytes; BARs size as the function's do. */
function imagePlatform(image: Uint8Array): DirectPlatform {
  const { platform } = bench();
  const real = { read: platform.readConfig.bind(platform), write: platform.writeConfig.bind(platform) };
  platform.readConfig = async (offset, length) => {
    if (offset >= pci.PCI_BASE_ADDRESS_0 && offset < pci.PCI_BASE_ADDRESS_0 + 24)
      return real.read(offset, length);
    platform.accesses += 1;
    const out = new Uint8Array(length);
    out.set(image.subarray(offset, offset + length));
    return out;
  };
  return platform;
}

async function queueAddress(platform: DirectPlatform, queue: number, field: number): Promise<number> {
  await platform.writeBar(0, virtio.COMMON.queue_select, Uint8Array.of(queue, 0));
  const view = new DataView((await platform.readBar(0, field, 8)).buffer);
  return view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32;
}

/** Lets what was put off happen. */
async function settle(): Promise<void> {
  for (let i = 0; i < 100; i++) await Promise.resolve();
}

test('2.4.2, 2.8: after a reset a driver may have rings of the other layout, and those of before again', async () => {
  const { memory, platform, warnings } = bench({}, new ProbeDevice(), ALL_RING_FEATURES);
  for (const packed of [false, true, true, false, true, false]) {
    const features = WANTS.features | (packed ? VIRTIO_F_RING_PACKED : 0n);
    const transport = await openPciDriver(platform, memory);
    const driver = await openDriver(transport, { ...WANTS, features, ringFeatures: { packed } });
    assert.equal(driver.features, features);
    for (const queue of driver.queues) {
      // Other numbers of them, so that the next ring does not begin where this one stands.
      for (let n = 0; n < 5 + Number(packed); n++)
        assert.deepEqual(await queue.request(Uint8Array.of(1, 2, n), 3), Uint8Array.of(n, 2, 1));
    }
    await driver.close();
  }
  assert.deepEqual(warnings, []);
});
