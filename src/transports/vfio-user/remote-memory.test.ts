import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DeviceQueue } from '../../virtio/device.js';
import { ProbeDevice } from '../pci/testing/probe-device.js';
import {
  decodeDmaAccess,
  encodeDmaAccess,
  encodeDmaMap,
  encodeDmaUnmap,
  encodeRegionAccess,
} from './codec.js';
import { encodeMessage, type Message } from './framing.js';
import * as wire from './messages.js';
import { RawClient } from './testing/raw-client.js';
import { MEMORY_SIZE, MEMORY_START, NOTIFY, number, RawDriver } from './testing/raw-driver.js';
import { ERRNO } from './vfio-user-error.js';

/** A client that keeps its memory to itself, with a driver that has started queue 0. */
function started(device = new ProbeDevice()): { client: RawClient; driver: RawDriver } {
  const client = new RawClient(device);
  client.negotiate();
  const driver = new RawDriver(client, false);
  driver.start();
  client.dmaRequests.length = 0;
  return { client, driver };
}

function region(command: number, offset: number, data: Uint8Array | number): Uint8Array {
  const count = typeof data === 'number' ? data : data.length;
  const access = encodeRegionAccess({ region: 0, offset, count });
  return typeof data === 'number' || command === wire.VFIO_USER_REGION_READ
    ? access
    : new Uint8Array([...access, ...data]);
}

const STATUS = region(wire.VFIO_USER_REGION_READ, 0x14, 1);

test('a device is served through DMA_READ and DMA_WRITE alone', () => {
  const { client, driver } = started();
  for (let i = 0; i < 20; i++) {
    assert.deepEqual(driver.request(Uint8Array.of(i, 2, 3), 3), Uint8Array.of(3, 2, i));
  }
  assert.ok(client.dmaRequests.length > 0);
  assert.deepEqual(client.warnings, []);
});

test('transfers are cut to what the client takes at once', () => {
  const client = new RawClient(new ProbeDevice());
  const json = '{"capabilities":{"max_data_xfer_size":64}}\0';
  client.ask(wire.VFIO_USER_VERSION, new Uint8Array([0, 0, 0, 0, ...new TextEncoder().encode(json)]));
  const driver = new RawDriver(client, false);
  driver.start();
  const request = Uint8Array.from({ length: 200 }, (_, i) => i);
  assert.deepEqual(driver.request(request, 200), request.slice().reverse());
  const counts = client.dmaRequests.map(({ command, payload }) => decodeDmaAccess(payload, command).count);
  assert.equal(Math.max(...counts), 64);
  assert.ok(counts.includes(200 % 64));
});

test('register accesses are answered while the device waits for memory', () => {
  const { client, driver } = started();
  let waiting: Message | undefined;
  let status = 0;
  client.answerDma = (message) => {
    waiting = message;
    client.send(wire.VFIO_USER_REGION_READ, STATUS);
    return undefined;
  };
  // As QEMU does it: memory is only given when the processor that reads a register has got its answer.
  client.onReply = ({ command, payload }) => {
    if (command !== wire.VFIO_USER_REGION_READ || waiting === undefined) return;
    status += payload.getUint8(wire.REGION_ACCESS.size);
    client.answer(waiting);
  };
  assert.deepEqual(driver.request(Uint8Array.of(1, 2), 2), Uint8Array.of(2, 1));
  assert.equal(status, 0x0f * client.dmaRequests.length);
});

test('so is what came in the same bytes as the kick', () => {
  const { client, driver } = started();
  let waiting: Message | undefined;
  client.answerDma = (message) => {
    if (client.replies.length > 0) client.answer(message);
    else waiting = message;
    return undefined;
  };
  client.onReply = () => {
    if (waiting !== undefined) client.answer(waiting);
  };
  driver.add(Uint8Array.of(1, 2), 2);
  const kick = region(wire.VFIO_USER_REGION_WRITE, NOTIFY, number(2, 0));
  client.raw(
    new Uint8Array([
      ...encodeMessage(1, wire.VFIO_USER_REGION_WRITE, wire.VFIO_USER_F_NO_REPLY, [kick]),
      ...encodeMessage(2, wire.VFIO_USER_REGION_READ, 0, [STATUS]),
    ]),
  );
  client.os.run();
  assert.deepEqual(driver.receive(), Uint8Array.of(2, 1));
  assert.equal(client.ended, undefined);
});

test('a kick while the device waits is served when it is back, not inside', () => {
  let depth = 0;
  let deepest = 0;
  class Device extends ProbeDevice {
    override queueNotified(queue: DeviceQueue): void {
      depth += 1;
      deepest = Math.max(deepest, depth);
      super.queueNotified(queue);
      depth -= 1;
    }
  }
  const device = new Device();
  const { client, driver } = started(device);
  let kicks = 0;
  client.answerDma = (message) => {
    if (kicks < 5) {
      kicks += 1;
      client.send(
        wire.VFIO_USER_REGION_WRITE,
        region(wire.VFIO_USER_REGION_WRITE, NOTIFY, number(2, 0)),
        [],
        wire.VFIO_USER_F_NO_REPLY,
      );
    }
    client.answer(message);
    return undefined;
  };
  device.calls.length = 0;
  assert.deepEqual(driver.request(Uint8Array.of(1, 2), 2), Uint8Array.of(2, 1));
  assert.equal(deepest, 1);
  assert.equal(kicks, 5);
  assert.deepEqual(device.calls, ['notified 0', 'notified 0'], 'the five are one when it is back');
});

test('an alarm’s work reaches memory too, and kicks that come meanwhile are served after it', () => {
  const device = new ProbeDevice();
  const { client, driver } = started(device);
  const queue = device.host!.queues[0]!;
  const alarm = device.host!.clock.alarm(() => {
    device.calls.push('alarm');
    const chain = queue.pop()!;
    client.send(
      wire.VFIO_USER_REGION_WRITE,
      region(wire.VFIO_USER_REGION_WRITE, NOTIFY, number(2, 0)),
      [],
      wire.VFIO_USER_F_NO_REPLY,
    );
    chain.write(Uint8Array.of(42));
    queue.push(chain);
    device.calls.push('alarm over');
  });
  alarm.set(device.host!.clock.now() + 1000);
  driver.add(Uint8Array.of(1), 1);
  device.calls.length = 0;
  client.clock.advance(1000);
  assert.deepEqual(driver.receive(), Uint8Array.of(42));
  client.os.run();
  assert.deepEqual(device.calls, ['alarm', 'alarm over', 'notified 0']);
});

test('a reset by the driver cuts the wait short: at once, in order, and nobody is blamed', () => {
  const device = new ProbeDevice();
  const { client, driver } = started(device);
  const begun = client.clock.now();
  const statuses: number[] = [];
  client.onReply = ({ command, payload }) => {
    if (command === wire.VFIO_USER_REGION_READ) statuses.push(payload.getUint8(wire.REGION_ACCESS.size));
  };
  client.answerDma = () => {
    client.send(wire.VFIO_USER_REGION_READ, STATUS);
    const reset = region(wire.VFIO_USER_REGION_WRITE, 0x14, number(1, 0));
    client.send(wire.VFIO_USER_REGION_WRITE, reset, [], wire.VFIO_USER_F_NO_REPLY);
    client.send(wire.VFIO_USER_REGION_READ, STATUS);
    client.answerDma = () => ({ errno: ERRNO.EIO });
    return undefined;
  };
  driver.add(Uint8Array.of(1, 2), 2);
  driver.kick();
  assert.deepEqual(statuses, [0x0f, 0]);
  assert.equal(client.clock.now(), begun);
  assert.equal(device.calls.at(-1), 'reset');
  assert.deepEqual(client.warnings, []);
  assert.equal(client.ended, undefined);
});

test('so does DEVICE_RESET, and a new driver finds all in order', () => {
  const { client, driver } = started();
  let reset = -1;
  client.answerDma = () => {
    reset = client.send(wire.VFIO_USER_DEVICE_RESET);
    client.answerDma = () => undefined;
    return undefined;
  };
  driver.add(Uint8Array.of(1, 2), 2);
  driver.kick();
  assert.equal(client.take(reset).error, 0);
  assert.equal(client.clock.now(), 0);
  client.answerDma = (message) => {
    client.answer(message);
    return undefined;
  };
  client.ask(wire.VFIO_USER_DMA_UNMAP, encodeDmaUnmap({ flags: 2, address: 0 as never, size: 0 }));
  client.memory.fill(0);
  const again = new RawDriver(client, false);
  again.start();
  assert.deepEqual(again.request(Uint8Array.of(1, 2), 2), Uint8Array.of(2, 1));
  assert.deepEqual(client.warnings, []);
});

test('no answer: the connection ends after 5 seconds, with one line that says to what', () => {
  const device = new ProbeDevice();
  const { client, driver } = started(device);
  client.answerDma = () => undefined;
  driver.add(Uint8Array.of(1, 2), 2);
  driver.kick();
  assert.equal(client.warnings.length, 1);
  assert.match(client.warnings[0]!, /no answer to DMA_\w+ of \d bytes at 0x8[0-9a-f]+ within 5000 ms/);
  assert.equal((client.ended?.error as { code?: string } | undefined)?.code, 'TIMEOUT');
  assert.equal(client.clock.now(), 5e9);
  assert.deepEqual(device.calls.slice(-2), ['reset', 'close']);
});

test('slow answers: others in the process wait 10 seconds in all, no longer', () => {
  const { client, driver } = started();
  client.answerDma = (message) => {
    client.clock.advance(3e9);
    client.answer(message);
    return undefined;
  };
  driver.add(Uint8Array.of(1, 2), 2);
  driver.kick();
  assert.equal((client.ended?.error as { code?: string } | undefined)?.code, 'TIMEOUT');
  assert.ok(client.clock.now() <= 12e9);
});

test('register accesses without end do not keep the wait going', () => {
  const { client, driver } = started();
  client.answerDma = () => {
    client.send(wire.VFIO_USER_REGION_READ, STATUS);
    return undefined;
  };
  client.onReply = () => {
    client.clock.advance(1e6);
    if (client.ended === undefined) client.send(wire.VFIO_USER_REGION_READ, STATUS);
  };
  driver.add(Uint8Array.of(1), 1);
  driver.kick();
  assert.equal((client.ended?.error as { code?: string } | undefined)?.code, 'TIMEOUT');
});

test('a client that writes registers without end while the device waits is cut off', () => {
  const { client, driver } = started();
  const write = region(wire.VFIO_USER_REGION_WRITE, 0x58, number(4, 1));
  const message = encodeMessage(1, wire.VFIO_USER_REGION_WRITE, wire.VFIO_USER_F_NO_REPLY, [write]);
  const many = new Uint8Array(message.length * 1000);
  for (let i = 0; i < 1000; i++) many.set(message, i * message.length);
  client.answerDma = () => {
    for (let i = 0; i < 70; i++) client.raw(many);
    return undefined;
  };
  driver.add(Uint8Array.of(1), 1);
  driver.kick();
  assert.match(client.ended?.error?.message ?? '', /over 65536 register writes/);
  assert.equal(client.warnings.length, 1);
});

test('a refused access breaks the queue, and a reset heals', () => {
  const { client, driver } = started();
  client.answerDma = () => ({ errno: ERRNO.EFAULT });
  driver.add(Uint8Array.of(1), 1);
  driver.kick();
  assert.equal(driver.readStatus() & 0x40, 0x40);
  assert.equal(client.warnings.length, 1);
  assert.equal(client.ended, undefined);
  driver.status(0);
  assert.equal(driver.readStatus(), 0);
});

test('an answer of another size ends the connection', () => {
  for (const [count, said] of [
    [0, 0],
    [3, 3],
    [5, 5],
    [1000, 1000],
    [1000, 4],
    [1000, 2],
    [0, 4],
    [0, 2],
  ] as const) {
    const { client, driver } = started();
    client.answerDma = ({ payload }) => ({
      payload: new Uint8Array([
        ...encodeDmaAccess(decodeDmaAccess(payload, 11).address, said),
        ...new Uint8Array(count),
      ]),
    });
    driver.add(Uint8Array.of(1), 1);
    driver.kick();
    assert.equal((client.ended?.error as { code?: string } | undefined)?.code, 'PROTOCOL');
    assert.equal(client.warnings.length, 1);
  }
});

test('answers with another id or command are no answers', () => {
  const { client, driver } = started();
  client.answerDma = (message) => {
    client.raw(encodeMessage(message.id ^ 1, message.command, wire.VFIO_USER_F_TYPE_REPLY));
    client.raw(encodeMessage(message.id, 4, wire.VFIO_USER_F_TYPE_REPLY));
    client.answer(message);
    return undefined;
  };
  assert.deepEqual(driver.request(Uint8Array.of(1, 2), 2), Uint8Array.of(2, 1));
});

test('a client that hangs up in the middle: the device is let out and closed', () => {
  const device = new ProbeDevice();
  const { client, driver } = started(device);
  client.answerDma = () => {
    client.hangUp();
    return undefined;
  };
  driver.add(Uint8Array.of(1), 1);
  driver.kick();
  client.os.run();
  assert.deepEqual(client.ended, { error: undefined });
  assert.deepEqual(client.warnings, []);
  assert.deepEqual(device.calls.slice(-2), ['reset', 'close']);
  assert.equal(client.os.openFds, 0);
});

test('memory that is unmapped while the device waits for it is gone', () => {
  // Whichever access it is that the device is at.
  for (let at = 0; at < 12; at++) {
    const { client, driver } = started();
    let asked = 0;
    client.answerDma = (message) => {
      if (asked === at) {
        const unmap = encodeDmaUnmap({ flags: 0, address: MEMORY_START, size: MEMORY_SIZE });
        client.send(wire.VFIO_USER_DMA_UNMAP, unmap);
      }
      asked += 1;
      client.answer(message);
      return undefined;
    };
    driver.add(Uint8Array.of(1), 1);
    driver.kick();
    driver.kick();
    assert.equal(driver.readStatus() & 0x40, 0x40);
    assert.equal(asked, at + 1, 'asked for memory that is gone');
    assert.equal(client.ended, undefined);
  }
});

test('read-only memory is read by messages even if a descriptor came with it, and never written', () => {
  const client = new RawClient(new ProbeDevice());
  client.negotiate();
  const { fd, mapping } = client.os.createMemory('rom', MEMORY_SIZE);
  const rom = { flags: wire.VFIO_DMA_MAP_FLAG_READ, offset: 0, address: MEMORY_START, size: MEMORY_SIZE };
  assert.equal(client.ask(wire.VFIO_USER_DMA_MAP, encodeDmaMap(rom), [fd]).error, 0);
  client.os.closeFd(fd);
  mapping.release();
  assert.equal(client.os.openMappings, 0);
  const driver = Object.assign(Object.create(RawDriver.prototype), { client }) as RawDriver;
  const writes = (): number => client.dmaRequests.filter(({ command }) => command === 12).length;
  driver.command(6);
  driver.status(3);
  driver.common(8, 4, 1);
  driver.common(12, 4, 1);
  driver.status(0xb);
  driver.common(0x20, 8, MEMORY_START);
  driver.common(0x28, 8, MEMORY_START + 0x1000);
  driver.common(0x30, 8, MEMORY_START + 0x2000);
  driver.common(0x1c, 2, 1);
  driver.status(0xf);
  assert.equal(driver.readStatus() & 0x40, 0x40);
  assert.ok(client.dmaRequests.length > 0);
  assert.equal(writes(), 0);
});
