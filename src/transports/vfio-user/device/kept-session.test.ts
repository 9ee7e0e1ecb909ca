import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ProbeDevice } from '../../pci/testing/probe-device.js';
import * as virtio from '../../pci/virtio-pci.js';
import { encodeIndex, encodeIrqSet } from '../codec.js';
import * as wire from '../messages.js';
import { RawClient } from '../testing/raw-client.js';
import { NOTIFY, number, RawDriver } from '../testing/raw-driver.js';

/** A client whose server's process dies, when `dies` says so, after each of its messages. */
function started(shared: boolean): { client: RawClient; driver: RawDriver; devices: ProbeDevice[] } {
  const devices: ProbeDevice[] = [];
  const client = new RawClient(() => {
    devices.push(new ProbeDevice());
    return devices.at(-1)!;
  });
  client.negotiate();
  const driver = new RawDriver(client, shared);
  return { client, driver, devices };
}

for (const shared of [true, false]) {
  const how = shared ? 'shared' : 'by messages';

  test(`a process dies after each message of a driver: the next one goes on (memory ${how})`, () => {
    const { client, driver } = started(shared);
    client.onReply = () => client.os.defer(() => client.keeper!.die());
    driver.start();
    for (let i = 0; i < 20; i++) {
      const answer = driver.request(Uint8Array.of(i, 2, 3), 3);
      assert.deepEqual(answer, Uint8Array.of(3, 2, i));
      client.die();
      assert.equal(driver.readStatus(), 0xf);
    }
    assert.deepEqual(client.warnings, []);
    assert.equal(client.ended, undefined);
  });

  test(`what is in flight when a process dies is carried out by the next, in order (memory ${how})`, () => {
    const { client, driver, devices } = started(shared);
    driver.start();
    const taken: number[][] = [];
    // One that holds what it takes, and hands back the second alone.
    const hold = (device: ProbeDevice): void => {
      device.queueNotified = (queue) => {
        const chains = [];
        for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) chains.push(chain);
        if (chains.length === 0) return;
        taken.push(chains.map((chain) => chain.readRest()[0]!));
        if (chains[1] === undefined) return;
        chains[1].write(Uint8Array.of(2));
        queue.push(chains[1]);
      };
    };
    hold(devices.at(-1)!);
    for (const i of [1, 2, 3]) driver.add(Uint8Array.of(i), 1);
    driver.kick();
    assert.deepEqual(taken, [[1, 2, 3]]);
    assert.deepEqual(driver.receive(), Uint8Array.of(2));
    driver.add(Uint8Array.of(4), 1);
    client.die();
    // The next device does what it is asked at once.
    const answers = [driver.receive(), driver.receive(), driver.receive()];
    assert.deepEqual(
      answers,
      [1, 3, 4].map((i) => Uint8Array.of(i)),
    );
    assert.equal(driver.receive(), undefined);
    assert.deepEqual(driver.request(Uint8Array.of(9), 1), Uint8Array.of(9));
    assert.deepEqual(client.warnings, []);
  });
}

test('eventfds outlive a process: doorbells ring, and the driver is interrupted once', () => {
  const { client, driver } = started(true);
  client.keepsFds = true;
  const { command, size } = { command: wire.VFIO_USER_DEVICE_GET_REGION_IO_FDS, size: 4096 };
  const { fds } = client.ask(command, encodeIndex(0, command, size));
  const bell = client.os.adoptEvent(fds[0]!);
  const vector = client.os.createEvent();
  let interrupts = 0;
  vector.watch(() => {
    interrupts += 1;
  });
  const flags = wire.VFIO_IRQ_SET_DATA_EVENTFD | wire.VFIO_IRQ_SET_ACTION_TRIGGER;
  const set = { flags, index: wire.VFIO_PCI_MSIX_IRQ_INDEX, start: 1, count: 1, bools: new Uint8Array() };
  assert.equal(client.ask(wire.VFIO_USER_DEVICE_SET_IRQS, encodeIrqSet(set), [vector.fd]).error, 0);
  // MSI-X on, and vector 1 for queue 0.
  const msix = findMsix(client);
  client.write(wire.VFIO_PCI_CONFIG_REGION_INDEX, msix + 2, number(2, 0x8000));
  driver.start();
  driver.common(virtio.COMMON.queue_msix_vector, 2, 1);
  assert.deepEqual(driver.request(Uint8Array.of(1, 2), 2), Uint8Array.of(2, 1));
  client.os.run();
  assert.equal(interrupts, 1);
  client.die();
  assert.equal(interrupts, 2);
  driver.add(Uint8Array.of(3, 4), 2);
  bell.signal();
  client.os.run();
  assert.deepEqual(driver.receive(), Uint8Array.of(4, 3));
  assert.equal(interrupts, 3);
  assert.deepEqual(client.warnings, []);
  client.write(0, NOTIFY, number(2, 0), true);
});

test('a reset, DMA_UNMAP and DEVICE_RESET are not taken back by the next process; all descriptors are let go in the end', () => {
  const { client, driver } = started(true);
  driver.start();
  assert.deepEqual(driver.request(Uint8Array.of(1, 2), 2), Uint8Array.of(2, 1));
  assert.ok(client.keeper!.keys.includes('inflight/0'));
  client.onReply = () => client.os.defer(() => client.keeper!.die());
  driver.status(0);
  client.die();
  assert.equal(driver.readStatus(), 0);
  assert.ok(!client.keeper!.keys.some((key) => key.startsWith('inflight/')));
  client.ask(wire.VFIO_USER_DEVICE_RESET);
  client.os.run();
  assert.deepEqual([...client.read(wire.VFIO_PCI_CONFIG_REGION_INDEX, 4, 2)], [0, 0]);
  client.os.run();
  assert.ok(!client.keeper!.keys.includes('pending'), client.keeper!.keys.join());
  assert.deepEqual(client.warnings, []);
  client.onReply = () => {};
  client.keeper!.close();
  client.hangUp();
  assert.equal(client.os.openMappings, 1, 'the driver’s own');
});

function findMsix(client: RawClient): number {
  const config = client.read(wire.VFIO_PCI_CONFIG_REGION_INDEX, 0, 256);
  for (let at = config[0x34]!; at !== 0; at = config[at + 1]!) if (config[at] === 0x11) return at;
  throw new Error('no MSI-X capability');
}
