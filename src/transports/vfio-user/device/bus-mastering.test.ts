import assert from 'node:assert/strict';
import { test } from 'node:test';
import { defineDevice } from '../../../virtio/define-device.js';
import * as pci from '../../pci/pci-registers.js';
import { ProbeDevice } from '../../pci/testing/probe-device.js';
import { encodeRegionAccess } from '../codec.js';
import * as wire from '../messages.js';
import { RawClient } from '../testing/raw-client.js';
import { number, RawDriver } from '../testing/raw-driver.js';

const ON = pci.PCI_COMMAND_MEMORY | pci.PCI_COMMAND_MASTER;
const OFF = pci.PCI_COMMAND_MEMORY;
const EFAULT = 14;

function commandWrite(value: number): Uint8Array {
  const access = { region: wire.VFIO_PCI_CONFIG_REGION_INDEX, offset: pci.PCI_COMMAND, count: 2 };
  return new Uint8Array([...encodeRegionAccess(access), ...number(2, value)]);
}

test('PCI 6.2.2: bus mastering goes in the middle of a request, at each message: nothing is asked for then, and nothing lost', () => {
  for (const inFlight of [false, true]) {
    let at = 0;
    for (let happened = true; happened; at++) {
      happened = false;
      const client = new RawClient(new ProbeDevice(2));
      client.negotiate();
      const driver = new RawDriver(client, false);
      driver.start();
      let asked = 0;
      let off: number | undefined;
      let answered = false;
      client.onReply = ({ id }) => {
        answered ||= id === off;
      };
      const serve = client.answerDma;
      client.answerDma = (message) => {
        assert.ok(!answered, `message ${at}: asked for memory after the answer`);
        if (off === undefined && asked++ === at) {
          happened = true;
          off = client.send(wire.VFIO_USER_REGION_WRITE, commandWrite(OFF));
          // What is under way is refused from then on, or was carried out before.
          if (!inFlight) return { errno: EFAULT };
        }
        return serve(message);
      };
      driver.add(Uint8Array.of(1, 2, 3), 3);
      driver.add(Uint8Array.of(4, 5), 2);
      driver.kick();
      client.os.run();
      client.answerDma = serve;
      off = undefined;
      driver.command(ON);
      client.os.run();
      const what = `message ${at}, ${inFlight ? 'answered' : 'refused'}`;
      assert.deepEqual(driver.receive(), Uint8Array.of(3, 2, 1), what);
      assert.deepEqual(driver.receive(), Uint8Array.of(5, 4), what);
      assert.deepEqual(driver.request(Uint8Array.of(6, 7), 2), Uint8Array.of(7, 6), what);
      assert.deepEqual([client.warnings, client.ended], [[], undefined], what);
    }
    assert.ok(at > 10, `${at} messages`);
  }
});

test('PCI 6.2.2: off and on in one go is on, and on and off is off', () => {
  const client = new RawClient(new ProbeDevice(2));
  client.negotiate();
  const driver = new RawDriver(client, false);
  driver.start();
  client.send(wire.VFIO_USER_REGION_WRITE, commandWrite(OFF));
  client.send(wire.VFIO_USER_REGION_WRITE, commandWrite(ON));
  client.os.run();
  assert.deepEqual(driver.request(Uint8Array.of(1, 2), 2), Uint8Array.of(2, 1));
  driver.command(OFF);
  client.send(wire.VFIO_USER_REGION_WRITE, commandWrite(ON));
  client.send(wire.VFIO_USER_REGION_WRITE, commandWrite(OFF));
  client.os.run();
  client.dmaRequests.length = 0;
  assert.equal(driver.request(Uint8Array.of(3, 4), 2), undefined);
  assert.equal(client.dmaRequests.length, 0);
});

for (const shared of [false, true]) {
  test(`PCI 6.2.2: requests that are answered while bus mastering is off wait for it, ${shared ? 'in shared memory' : 'by messages'}`, async () => {
    let finish: () => void = () => {};
    let served = 0;
    const device = defineDevice({
      id: 63,
      name: 'slow',
      queues: [
        {
          name: 'q',
          async handle(chain) {
            const request = chain.readRest();
            served += 1;
            await new Promise<void>((resolve) => {
              finish = resolve;
            });
            chain.write(request.map((byte) => byte + 1));
          },
        },
      ],
    })();
    const client = new RawClient(device);
    client.negotiate();
    const driver = new RawDriver(client, shared);
    driver.start();
    assert.equal(driver.request(Uint8Array.of(1, 2, 3), 3), undefined);
    driver.command(OFF);
    client.dmaRequests.length = 0;
    finish();
    await new Promise(setImmediate);
    client.os.run();
    assert.deepEqual([driver.receive(), client.dmaRequests.length], [undefined, 0]);
    driver.command(ON);
    client.os.run();
    assert.deepEqual(driver.receive(), Uint8Array.of(2, 3, 4));
    assert.deepEqual([served, client.warnings], [1, []]);
  });
}
