import assert from 'node:assert/strict';
import { test } from 'node:test';
import { get64 } from '../../../memory/address.js';
import * as pci from '../../pci/pci-registers.js';
import { ProbeDevice } from '../../pci/testing/probe-device.js';
import * as virtio from '../../pci/virtio-pci.js';
import * as codec from '../codec.js';
import { encodeMessage } from '../framing.js';
import * as wire from '../messages.js';
import { RawClient } from '../testing/raw-client.js';
import { MEMORY_SIZE, MEMORY_START, NOTIFY, number, RawDriver } from '../testing/raw-driver.js';
import { decodeVersion, encodeVersion } from '../version.js';
import { ERRNO } from '../vfio-user-error.js';

const { EINVAL, ENOSYS, EEXIST, ENOENT, ENOTSUP, ENOSPC } = ERRNO;
const CONFIG = wire.VFIO_PCI_CONFIG_REGION_INDEX;
const { VFIO_DMA_MAP_FLAG_READ: READ, VFIO_DMA_MAP_FLAG_WRITE: WRITE } = wire;

function connected(device = new ProbeDevice(), options = {}): RawClient {
  const client = new RawClient(device, options);
  client.negotiate();
  return client;
}

/** VERSION's payload with this text behind the numbers. */
function version(text: string | Uint8Array, major = 0, minor = 0): Uint8Array {
  const data = typeof text === 'string' ? new TextEncoder().encode(text) : text;
  return new Uint8Array([...number(2, major), ...number(2, minor), ...data]);
}

function dmaMap(overrides: Partial<codec.DmaMap> = {}): Uint8Array {
  return codec.encodeDmaMap({
    flags: READ | WRITE,
    offset: 0,
    address: MEMORY_START,
    size: MEMORY_SIZE,
    ...overrides,
  });
}

test('VERSION: the reply has 0.0, and what the client proposed and the server knows', () => {
  const client = new RawClient(new ProbeDevice());
  const text = '{"capabilities":{"max_msg_fds":8,"write_multiple":true,"migration":{"pgsize":4096}}}\0';
  const reply = client.ask(wire.VFIO_USER_VERSION, version(text, 0, 3));
  const { major, minor, names, writeMultiple } = decodeVersion(reply.payload);
  assert.deepEqual([major, minor, writeMultiple], [0, 0, true]);
  assert.deepEqual(names, ['max_msg_fds', 'write_multiple']);
  assert.ok(reply.payload.byteLength <= 4 + text.length, 'QEMU takes no longer reply than its request');
});

test('VERSION: no data at all is fine', () => {
  const client = new RawClient(new ProbeDevice());
  assert.equal(client.ask(wire.VFIO_USER_VERSION, version('')).error, 0);
  assert.equal(client.ended, undefined);
});

test('VERSION: what can’t be understood is an error reply and the end, with one log line', () => {
  const cases: [Uint8Array, RegExp][] = [
    [version('', 1), /version 1\.0/],
    [version('{"capabilities":{}}'), /end with NUL/],
    [version('{"capabilities"\0'), /no JSON/],
    [version('[]\0'), /no object/],
    [version('{"capabilities":[]}\0'), /no object/],
    [version(Uint8Array.of(0x22, 0xff, 0x22, 0)), /no JSON/],
    [version('{"capabilities":{"max_data_xfer_size":3}}\0'), /max_data_xfer_size/],
    [version('{"capabilities":{"max_msg_fds":"many"}}\0'), /max_msg_fds/],
    [version(`${'['.repeat(1e6)}\0`), /bytes/],
    [version(`${'['.repeat(10_000)}\0`), /no JSON/],
    [Uint8Array.of(0, 0), /2 bytes/],
  ];
  for (const [payload, line] of cases) {
    const client = new RawClient(new ProbeDevice());
    assert.equal(client.refused(wire.VFIO_USER_VERSION, payload), EINVAL);
    assert.equal(client.warnings.length, 1);
    assert.match(client.warnings[0]!, line);
    assert.match(client.ended?.error?.message ?? '', line);
  }
});

test('VERSION: nothing else may come first, and it does not come twice', () => {
  const client = new RawClient(new ProbeDevice());
  client.send(wire.VFIO_USER_DEVICE_RESET);
  client.os.run();
  assert.match(client.ended?.error?.message ?? '', /DEVICE_RESET came before VERSION/);

  const other = connected();
  assert.equal(other.refused(wire.VFIO_USER_VERSION, encodeVersion()), EINVAL);
  assert.equal(other.ended, undefined);
});

test('DEVICE_GET_INFO: a PCI device that can be reset, nine regions, five interrupt types', () => {
  const client = connected();
  const { payload } = client.ask(wire.VFIO_USER_DEVICE_GET_INFO, new Uint8Array(16));
  assert.deepEqual(codec.decodeInfo(payload, 4), { flags: 3, third: 9, fourth: 5 });
  assert.equal(client.refused(wire.VFIO_USER_DEVICE_GET_INFO, new Uint8Array(15)), EINVAL);
});

test('DEVICE_GET_REGION_INFO: the BARs and the configuration space', () => {
  const client = connected();
  const command = wire.VFIO_USER_DEVICE_GET_REGION_INFO;
  const size = (index: number): number => {
    const { payload } = client.ask(command, codec.encodeIndex(index, command));
    const info = codec.decodeRegionInfo(payload);
    assert.equal(info.index, index);
    assert.equal(info.flags, info.size === 0 ? 0 : 3);
    return info.size;
  };
  assert.deepEqual([0, 1, 2, 3, 4, 5, 6, 7, 8].map(size), [0x1000, 0x1000, 0, 0, 0, 0, 0, 256, 0]);
  assert.equal(client.refused(command, codec.encodeIndex(9, command)), EINVAL);
  assert.equal(client.refused(command, new Uint8Array(32)), EINVAL, 'argsz 0');
  assert.equal(client.refused(command, new Uint8Array(31)), EINVAL);
});

test('DEVICE_GET_IRQ_INFO: INTx masks itself, MSI-X has a vector for the configuration and each queue', () => {
  const command = wire.VFIO_USER_DEVICE_GET_IRQ_INFO;
  const infos = (client: RawClient): [number, number][] =>
    [0, 1, 2, 3, 4].map((index) => {
      const { payload } = client.ask(command, codec.encodeIndex(index, command));
      const { flags, third, fourth } = codec.decodeInfo(payload, command);
      assert.equal(third, index);
      return [fourth, flags];
    });
  const client = connected();
  assert.deepEqual(infos(client), [
    [1, 7],
    [0, 0],
    [3, 3],
    [1, 1],
    [1, 1],
  ]);
  assert.deepEqual(infos(connected(new ProbeDevice(), { vectors: 0 }))[2], [0, 0]);
  assert.equal(client.refused(command, codec.encodeIndex(5, command)), EINVAL);
});

test('REGION_READ and REGION_WRITE: within the region, or EINVAL', () => {
  const client = connected();
  assert.deepEqual([...client.read(CONFIG, 0, 4)], [0xf4, 0x1a, 0x3f, 0x10]);
  assert.equal(client.read(CONFIG, 0, 256).length, 256);
  const read = (region: number, offset: number, count: number): number =>
    client.refused(wire.VFIO_USER_REGION_READ, codec.encodeRegionAccess({ region, offset, count }));
  assert.equal(read(CONFIG, 255, 2), EINVAL);
  assert.equal(read(CONFIG, 256, 1), EINVAL);
  assert.equal(read(CONFIG, 0, 0), EINVAL);
  assert.equal(read(CONFIG, 0, 0xffff_ffff), EINVAL);
  assert.equal(read(2, 0, 1), EINVAL);
  assert.equal(read(77, 0, 1), EINVAL);
  const far = codec.encodeRegionAccess({ region: CONFIG, offset: 0, count: 4 });
  far.fill(0xff, 0, 8);
  assert.equal(client.refused(wire.VFIO_USER_REGION_READ, far), EINVAL);
  assert.equal(client.write(CONFIG, 0xfe, Uint8Array.of(1, 2, 3)), EINVAL);
  // Less data than the count says.
  const short = codec.encodeRegionAccess({ region: CONFIG, offset: 4, count: 2 });
  assert.equal(client.refused(wire.VFIO_USER_REGION_WRITE, short), EINVAL);
  assert.equal(client.ended, undefined);
});

test('No_reply: a posted write is done and not answered, a refused one neither', () => {
  const client = connected();
  client.write(CONFIG, pci.PCI_COMMAND, number(2, 6), true);
  client.write(99, 0, number(2, 6), true);
  assert.deepEqual(client.replies, []);
  assert.deepEqual([...client.read(CONFIG, pci.PCI_COMMAND, 2)], [6, 0]);
  assert.equal(client.warnings.length, 1);
});

test('REGION_WRITE_MULTI: all writes in order', () => {
  const client = connected();
  const writes = [
    { region: CONFIG, offset: pci.PCI_COMMAND, count: 2, data: number(2, 6) },
    { region: 0, offset: 0x16, count: 2, data: number(2, 1) },
    { region: 0, offset: 0x20, count: 8, data: number(8, 0x1_0000_2000) },
  ];
  const { payload } = client.ask(wire.VFIO_USER_REGION_WRITE_MULTI, codec.encodeWriteMulti(writes));
  assert.equal(get64(payload, 0), 3);
  assert.deepEqual([...client.read(0, 0x16, 2)], [1, 0]);
  assert.deepEqual([...client.read(0, 0x20, 8)], [...number(8, 0x1_0000_2000)]);
  const tooMany = codec.encodeWriteMulti(writes);
  tooMany[0] = 200;
  assert.equal(client.refused(wire.VFIO_USER_REGION_WRITE_MULTI, tooMany), EINVAL);
  const tooLong = codec.encodeWriteMulti(writes);
  tooLong[8 + 12] = 9;
  assert.equal(client.refused(wire.VFIO_USER_REGION_WRITE_MULTI, tooLong), EINVAL);
  assert.equal(client.refused(wire.VFIO_USER_REGION_WRITE_MULTI, new Uint8Array(8).fill(0xff)), EINVAL);
});

test('unknown commands are ENOSYS, and the connection lives', () => {
  const client = connected();
  for (const command of [0, 11, 12, 14, 19, 0xffff]) assert.equal(client.refused(command), ENOSYS);
  assert.equal(client.ended, undefined);
});

test('a message that is neither command nor reply ends the connection', () => {
  const client = connected();
  client.raw(encodeMessage(1, 1, 2));
  client.os.run();
  assert.match(client.ended?.error?.message ?? '', /flags 0x2/);
});

test('a reply that nobody waits for is dropped', () => {
  const client = connected();
  client.raw(encodeMessage(0, wire.VFIO_USER_DMA_READ, wire.VFIO_USER_F_TYPE_REPLY));
  client.os.run();
  assert.equal(client.ended, undefined);
  assert.equal(client.read(CONFIG, 0, 1).length, 1);
});

test('each refused message is answered, and warned of', () => {
  const client = connected();
  for (let i = 0; i < 100; i++) client.send(99);
  client.os.run();
  assert.equal(client.replies.length, 100);
  assert.equal(client.warnings.length, 100);
});

test('DMA_MAP: what can’t be mapped is refused, and its descriptor closed', () => {
  const client = connected();
  const before = client.os.openFds;
  const { fd } = client.os.createMemory('small', 0x1000);
  const map = (overrides: Partial<codec.DmaMap>, fds: number[] = []): number =>
    client.refused(wire.VFIO_USER_DMA_MAP, dmaMap(overrides), fds);
  assert.equal(map({ size: 0 }), EINVAL);
  assert.equal(map({ flags: 0 }), EINVAL);
  assert.equal(map({ flags: WRITE }), EINVAL);
  assert.equal(map({ flags: 0x87 }), EINVAL);
  assert.equal(map({ size: 0x2000 }, [fd]), EINVAL, 'longer than the file');
  assert.equal(map({ offset: 0x1000, size: 0x1000 }, [fd]), EINVAL, 'behind the file');
  assert.equal(map({}, [fd, fd]), EINVAL, 'two descriptors');
  assert.equal(map({}, [client.os.createOther()]), ERRNO.ENODEV);
  const high = dmaMap();
  high.fill(0xff, wire.DMA_MAP.address, wire.DMA_MAP.address + 8);
  assert.equal(client.refused(wire.VFIO_USER_DMA_MAP, high), EINVAL);
  assert.equal(client.refused(wire.VFIO_USER_DMA_MAP, new Uint8Array(31)), EINVAL);
  client.os.closeFd(fd);
  assert.equal(client.os.openMappings, 1, 'only the test’s own');
  assert.equal(client.os.openFds - before, 1, 'createOther’s, which the test sent and kept');
});

test('DMA_MAP over a region is EEXIST; DMA_UNMAP takes exactly one, or all', () => {
  const client = connected();
  const unmap = (address: number, size: number, flags = 0): number =>
    client.ask(
      wire.VFIO_USER_DMA_UNMAP,
      codec.encodeDmaUnmap({ flags, address: address as codec.DmaUnmap['address'], size }),
    ).error;
  assert.equal(client.ask(wire.VFIO_USER_DMA_MAP, dmaMap()).error, 0);
  const overlapping = (MEMORY_START + 0x1000) as codec.DmaMap['address'];
  assert.equal(client.ask(wire.VFIO_USER_DMA_MAP, dmaMap({ address: overlapping })).error, EEXIST);
  const { fd, mapping } = client.os.createMemory('guest', MEMORY_SIZE);
  mapping.release();
  assert.equal(client.ask(wire.VFIO_USER_DMA_MAP, dmaMap({ address: overlapping }), [fd]).error, EEXIST);
  assert.equal(client.os.openMappings, 0);
  const elsewhere = 0x80_0000 as codec.DmaMap['address'];
  assert.equal(client.ask(wire.VFIO_USER_DMA_MAP, dmaMap({ address: elsewhere }), [fd]).error, 0);
  assert.equal(client.os.openMappings, 1);
  assert.equal(unmap(elsewhere, MEMORY_SIZE), 0);
  assert.equal(client.os.openMappings, 0);
  assert.equal(unmap(MEMORY_START, 0x1000), ENOENT);
  assert.equal(unmap(MEMORY_START - 0x1000, 0x10_0000), ENOENT);
  assert.equal(unmap(MEMORY_START, MEMORY_SIZE, wire.VFIO_DMA_UNMAP_FLAG_ALL), EINVAL, 'all, and which');
  assert.equal(unmap(MEMORY_START, MEMORY_SIZE, 4), EINVAL);
  const payload = codec.encodeDmaUnmap({ flags: 0, address: MEMORY_START, size: MEMORY_SIZE });
  const reply = client.ask(wire.VFIO_USER_DMA_UNMAP, payload);
  assert.deepEqual(codec.rest(reply.payload, 0), payload);
  assert.equal(unmap(MEMORY_START, MEMORY_SIZE), ENOENT);
  assert.equal(client.ask(wire.VFIO_USER_DMA_MAP, dmaMap()).error, 0);
  assert.equal(unmap(0, 0, wire.VFIO_DMA_UNMAP_FLAG_ALL), 0);
  assert.equal(client.ask(wire.VFIO_USER_DMA_MAP, dmaMap()).error, 0);
});

test('DMA_MAP of what is there already changes nothing; of another file, place or way it is EEXIST', () => {
  const client = connected();
  const { fd, mapping } = client.os.createMemory('guest', 2 * MEMORY_SIZE);
  mapping.release();
  const other = client.os.createMemory('other', 2 * MEMORY_SIZE);
  other.mapping.release();
  const map = (overrides: Partial<codec.DmaMap>, fds: number[]): number =>
    client.ask(wire.VFIO_USER_DMA_MAP, dmaMap(overrides), fds).error;
  for (let i = 0; i < 2; i++) {
    assert.equal(map({}, [fd]), 0);
    // As libvfio-user has it: the file is to be mapped, which goes without saying.
    assert.equal(map({ flags: READ | WRITE | wire.VFIO_USER_F_DMA_REGION_MMAP }, [fd]), 0);
    assert.equal(client.os.openMappings, 1);
  }
  assert.equal(map({}, [other.fd]), EEXIST);
  assert.equal(map({}, []), EEXIST, 'by messages');
  assert.equal(map({ offset: 0x1000 }, [fd]), EEXIST);
  assert.equal(map({ size: MEMORY_SIZE / 2 }, [fd]), EEXIST);
  assert.equal(map({ flags: READ }, [fd]), EEXIST);
  const remote = { address: 0x100_0000 as codec.DmaMap['address'] };
  assert.equal(map(remote, []), 0);
  assert.equal(map(remote, []), 0);
  assert.equal(map(remote, [fd]), EEXIST);
  assert.equal(client.os.openMappings, 1);
  client.hangUp();
  assert.equal(client.os.openMappings, 0);
});

test('DMA_MAP: the ways to reach a file that libvfio-user names', () => {
  const client = connected();
  assert.equal(
    client.refused(wire.VFIO_USER_DMA_MAP, dmaMap({ flags: READ | wire.VFIO_USER_F_DMA_REGION_MMAP })),
    EINVAL,
  );
  assert.match(client.warnings.at(-1)!, /DMA_MAP of a file that is to be mapped came without one/);
  const byReads = dmaMap({ flags: READ | wire.VFIO_USER_F_DMA_REGION_FILE_IO });
  assert.equal(client.refused(wire.VFIO_USER_DMA_MAP, byReads), ENOTSUP);
});

test('DMA regions shrink and come back: a ring goes on over what is mapped now', () => {
  const client = connected();
  const driver = new RawDriver(client, true, true);
  driver.start();
  assert.deepEqual(driver.request(Uint8Array.of(1, 2), 2), Uint8Array.of(2, 1));
  const { fd } = driver.shared!;
  const unmap = codec.encodeDmaUnmap({ flags: 0, address: MEMORY_START, size: MEMORY_SIZE });
  for (let i = 0; i < 3; i++) {
    assert.equal(client.ask(wire.VFIO_USER_DMA_UNMAP, unmap).error, 0);
    const half = MEMORY_SIZE / 2;
    const upper = { address: (MEMORY_START + half) as codec.DmaMap['address'], offset: half, size: half };
    assert.equal(client.ask(wire.VFIO_USER_DMA_MAP, dmaMap({ size: half }), [fd]).error, 0);
    assert.equal(client.ask(wire.VFIO_USER_DMA_MAP, dmaMap(upper), [fd]).error, 0);
    assert.deepEqual(driver.request(Uint8Array.of(i, 2, 3), 3), Uint8Array.of(3, 2, i));
    assert.equal(client.ask(wire.VFIO_USER_DMA_UNMAP, unmap).error, ENOENT, 'two of them');
    const all = codec.encodeDmaUnmap({ flags: wire.VFIO_DMA_UNMAP_FLAG_ALL, address: 0 as never, size: 0 });
    assert.equal(client.ask(wire.VFIO_USER_DMA_UNMAP, all).error, 0);
    assert.equal(client.ask(wire.VFIO_USER_DMA_MAP, dmaMap(), [fd]).error, 0);
    assert.deepEqual(driver.request(Uint8Array.of(7, i), 2), Uint8Array.of(i, 7));
  }
  assert.deepEqual(
    client.warnings.filter((line) => !line.includes('no DMA region')),
    [],
  );
  assert.equal(client.os.staleAccesses, 0);
});

test('DMA_MAP: there is an end to regions', () => {
  const client = connected();
  for (let i = 0; i < 1024; i++) {
    const address = (i * 0x2000) as codec.DmaMap['address'];
    assert.equal(client.ask(wire.VFIO_USER_DMA_MAP, dmaMap({ address, size: 0x1000 })).error, 0);
  }
  const address = 0x8000_0000 as codec.DmaMap['address'];
  assert.equal(client.ask(wire.VFIO_USER_DMA_MAP, dmaMap({ address })).error, ENOSPC);
});

test('a device is served through shared memory', () => {
  const client = connected();
  const driver = new RawDriver(client, true);
  driver.start();
  assert.deepEqual(driver.request(Uint8Array.of(1, 2, 3), 3), Uint8Array.of(3, 2, 1));
  assert.equal(client.dmaRequests.length, 0);
});

test('writes that wait together are answered with one send, and their kicks are one look, each in its place', () => {
  const device = new ProbeDevice();
  const client = connected(device);
  const driver = new RawDriver(client, true);
  driver.start();
  const write = (offset: number, data: Uint8Array): number => {
    const access = codec.encodeRegionAccess({ region: 0, offset, count: data.length });
    return client.send(wire.VFIO_USER_REGION_WRITE, new Uint8Array([...access, ...data]));
  };
  device.calls.length = 0;
  client.os.sends = 0;
  driver.add(Uint8Array.of(1, 2), 2);
  const first = [write(NOTIFY, number(2, 0)), write(NOTIFY, number(2, 0)), write(NOTIFY, number(2, 0))];
  client.os.run();
  assert.deepEqual(device.calls, ['notified 0']);
  assert.deepEqual(driver.receive(), Uint8Array.of(2, 1));
  assert.equal(client.os.sends, 3 + 1);
  assert.deepEqual(
    first.map((id) => client.take(id).error),
    [0, 0, 0],
  );

  device.calls.length = 0;
  client.os.sends = 0;
  driver.add(Uint8Array.of(3), 1);
  const second = [
    write(NOTIFY, number(2, 0)),
    write(virtio.COMMON.queue_select, number(2, 1)),
    write(virtio.COMMON.device_status, number(1, 0)),
    write(NOTIFY, number(2, 0)),
  ];
  client.os.run();
  assert.deepEqual(device.calls, ['notified 0', 'reset'], 'the kick before the reset, and none after');
  assert.equal(driver.receive()?.length, 1);
  for (const id of second) assert.equal(client.take(id).error, 0);
});

test('memory that is unmapped under a running ring breaks the queue, no more; it is not touched again', () => {
  const device = new ProbeDevice();
  const client = connected(device);
  const driver = new RawDriver(client, true);
  driver.start();
  const unmap = codec.encodeDmaUnmap({ flags: 0, address: MEMORY_START, size: MEMORY_SIZE });
  assert.equal(client.ask(wire.VFIO_USER_DMA_UNMAP, unmap).error, 0);
  driver.kick();
  assert.equal(driver.readStatus(), 0x4f);
  assert.equal(client.warnings.length, 1);
  assert.equal(client.os.staleAccesses, 0);
  const again = new RawDriver(client, true);
  again.start();
  assert.equal(again.readStatus(), 0x0f);
  assert.deepEqual(again.request(Uint8Array.of(5), 1), Uint8Array.of(5));
});

test('DEVICE_RESET: the device and its registers are reset before the reply', () => {
  const device = new ProbeDevice();
  const client = connected(device);
  const driver = new RawDriver(client, true);
  driver.start();
  assert.equal(client.ask(wire.VFIO_USER_DEVICE_RESET).payload.byteLength, 0);
  assert.equal(device.calls.at(-1), 'reset');
  assert.deepEqual([...client.read(CONFIG, pci.PCI_COMMAND, 2)], [0, 0]);
  assert.equal(client.read(0, 0x14, 1)[0], 0);
});

test('a client that goes: everything is given back, and the device closed', () => {
  for (const shared of [true, false]) {
    const device = new ProbeDevice();
    const client = connected(device);
    const driver = new RawDriver(client, shared);
    driver.start();
    const event = client.os.createEvent();
    const set = codec.encodeIrqSet({ flags: 0x24, index: 0, start: 0, count: 1, bools: new Uint8Array() });
    client.ask(wire.VFIO_USER_DEVICE_SET_IRQS, set, [event.fd]);
    event.close();
    driver.add(Uint8Array.of(1), 1);
    const before = client.os.openMappings;
    client.hangUp();
    assert.deepEqual(client.ended, { error: undefined });
    assert.deepEqual(client.warnings, []);
    assert.deepEqual(device.calls.slice(-2), ['reset', 'close']);
    assert.equal(client.os.openFds, 0);
    assert.equal(client.os.openMappings, shared ? before - 1 : 0);
    assert.equal(client.clock.open, 0);
  }
});

test('close: everything is given back, nobody is told, and what comes later is not read', () => {
  const client = connected();
  new RawDriver(client, true);
  client.send(wire.VFIO_USER_DEVICE_SET_IRQS, new Uint8Array(), [client.os.createOther()]);
  client.session.close();
  client.session.close();
  client.os.run();
  assert.equal(client.ended, undefined);
  assert.equal(client.os.openMappings, 1, 'the driver’s own');
});

test('descriptors that no message wants are closed', () => {
  const client = connected();
  const event = client.os.createEvent();
  const before = client.os.openFds;
  for (const command of [wire.VFIO_USER_DEVICE_GET_INFO, wire.VFIO_USER_DEVICE_RESET, 99]) {
    client.ask(command, new Uint8Array(16), [event.fd, event.fd]);
  }
  // A message that is never whole.
  client.raw(encodeMessage(1, 2, 0, [new Uint8Array(32)]).subarray(0, 20), [event.fd]);
  client.os.run();
  assert.equal(client.os.openFds, before + 1);
  client.hangUp();
  event.close();
  assert.equal(client.os.openFds, 0);
});

test('NOTIFY is where the capability says', () => {
  const client = connected();
  const config = client.read(CONFIG, 0, 256);
  let at = config[pci.PCI_CAPABILITY_LIST]!;
  while (config[at] !== pci.PCI_CAP_ID_VNDR || config[at + 3] !== 2) at = config[at + 1]!;
  assert.equal(new DataView(config.buffer, config.byteOffset).getUint32(at + 8, true), NOTIFY);
});

test('DMA_MAP: a connection may share so much and no more, and is told so', () => {
  const client = connected();
  const { fd, mapping } = client.os.createMemory('large', 4096);
  const huge = dmaMap({ address: 0 as never, size: 2 ** 42 + 4096 });
  assert.equal(client.refused(wire.VFIO_USER_DMA_MAP, huge, [fd]), ERRNO.ENOMEM);
  assert.match(client.warnings[0] ?? '', /where a connection may share 4398046511104 \(--max-memory\)/);
  assert.equal(client.ask(wire.VFIO_USER_DMA_MAP, huge).error, 0, 'what it keeps to itself is not counted');
  mapping.release();
  client.os.closeFd(fd);
  assert.equal(client.os.openMappings, 0);
});
