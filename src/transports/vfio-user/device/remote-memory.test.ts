import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DeviceQueue } from '../../../virtio/device.js';
import { ProbeDevice } from '../../pci/testing/probe-device.js';
import {
  decodeDmaAccess,
  encodeDmaAccess,
  encodeDmaMap,
  encodeDmaUnmap,
  encodeRegionAccess,
} from '../codec.js';
import { encodeMessage, type Message } from '../framing.js';
import * as wire from '../messages.js';
import { RawClient } from '../testing/raw-client.js';
import { MEMORY_SIZE, MEMORY_START, NOTIFY, number, RawDriver } from '../testing/raw-driver.js';
import { ERRNO } from '../vfio-user-error.js';

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

test('register accesses are answered while memory is asked for', () => {
  const { client, driver } = started();
  const waiting: Message[] = [];
  let status = 0;
  client.answerDma = (message) => {
    waiting.push(message);
    client.send(wire.VFIO_USER_REGION_READ, STATUS);
    return undefined;
  };
  // As QEMU does it: memory is only given when the processor that reads a register has got its answer.
  client.onReply = ({ command, payload }) => {
    if (command !== wire.VFIO_USER_REGION_READ) return;
    status += payload.getUint8(wire.REGION_ACCESS.size);
    const message = waiting.shift();
    if (message !== undefined) client.answer(message);
  };
  assert.deepEqual(driver.request(Uint8Array.of(1, 2), 2), Uint8Array.of(2, 1));
  assert.equal(status, 0x0f * client.dmaRequests.length);
});

test('a kick while a chain is on its way is not lost', () => {
  const { client, driver } = started();
  let kicks = 0;
  client.answerDma = (message) => {
    if (kicks < 5) {
      kicks += 1;
      driver.add(Uint8Array.of(kicks), 1);
      const kick = region(wire.VFIO_USER_REGION_WRITE, NOTIFY, number(2, 0));
      client.send(wire.VFIO_USER_REGION_WRITE, kick, [], wire.VFIO_USER_F_NO_REPLY);
    }
    client.answer(message);
    return undefined;
  };
  // The ring has room for four chains of two descriptors.
  driver.kick();
  const answers: number[] = [];
  for (let answer = driver.receive(); answer !== undefined; answer = driver.receive())
    answers.push(...answer);
  assert.deepEqual(answers, [1, 2, 3, 4]);
  assert.deepEqual(client.warnings, []);
});

test('an alarm’s work reaches chains that arrived before it', () => {
  class Late extends ProbeDevice {
    override queueNotified(queue: DeviceQueue): void {
      this.calls.push(`notified ${queue.index}`);
    }
  }
  const device = new Late();
  const { client, driver } = started(device);
  const queue = device.host!.queues[0]!;
  const alarm = device.host!.clock.alarm(() => {
    const chain = queue.pop()!;
    chain.write(Uint8Array.of(42));
    queue.push(chain);
  });
  alarm.set(device.host!.clock.now() + 1000);
  driver.add(Uint8Array.of(1), 1);
  driver.kick();
  client.clock.advance(1000);
  client.os.run();
  assert.deepEqual(driver.receive(), Uint8Array.of(42));
});

test('what the device wrote is there before the element, and that before the index, in answers of any order', () => {
  const { client, driver } = started();
  const held: Message[] = [];
  const seen: string[] = [];
  const { deviceArea } = driver.queue;
  client.answerDma = (message) => {
    const { address } = decodeDmaAccess(message.payload, message.command);
    if (message.command === wire.VFIO_USER_DMA_WRITE) {
      seen.push(address === deviceArea + 2 ? 'index' : address > deviceArea ? 'element' : 'buffer');
    }
    held.push(message);
    return undefined;
  };
  driver.add(Uint8Array.of(1, 2), 2);
  driver.add(Uint8Array.of(3, 4), 2);
  driver.kick();
  while (held.length > 0) {
    // The last one that was asked for comes first.
    client.answer(held.pop()!);
    client.os.run();
  }
  assert.deepEqual(driver.receive(), Uint8Array.of(2, 1));
  assert.deepEqual(driver.receive(), Uint8Array.of(4, 3));
  const order = seen.join(' ');
  assert.match(order, /^(buffer )+(element )+index( (buffer )*(element )+index)*$/);
});

test('a reset by the driver waits for nothing: at once, in order, and nobody is blamed', () => {
  const device = new ProbeDevice();
  const { client, driver } = started(device);
  const begun = client.clock.now();
  const statuses: number[] = [];
  const late: Message[] = [];
  client.onReply = ({ command, payload }) => {
    if (command === wire.VFIO_USER_REGION_READ) statuses.push(payload.getUint8(wire.REGION_ACCESS.size));
  };
  client.answerDma = (message) => {
    late.push(message);
    client.send(wire.VFIO_USER_REGION_READ, STATUS);
    const reset = region(wire.VFIO_USER_REGION_WRITE, 0x14, number(1, 0));
    client.send(wire.VFIO_USER_REGION_WRITE, reset, [], wire.VFIO_USER_F_NO_REPLY);
    client.send(wire.VFIO_USER_REGION_READ, STATUS);
    return undefined;
  };
  driver.add(Uint8Array.of(1, 2), 2);
  driver.kick();
  assert.deepEqual(statuses, [0x0f, 0]);
  assert.equal(client.clock.now(), begun);
  assert.equal(device.calls.at(-1), 'reset');
  for (const message of late) client.answer(message);
  client.os.run();
  assert.equal(client.dmaRequests.length, 1, 'nothing more is asked for');
  assert.deepEqual(client.warnings, []);
  assert.equal(client.ended, undefined);
});

test('so does DEVICE_RESET, and a new driver finds all in order', () => {
  const { client, driver } = started();
  let reset = -1;
  const late: Message[] = [];
  client.answerDma = (message) => {
    late.push(message);
    reset = client.send(wire.VFIO_USER_DEVICE_RESET);
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
  for (const message of late) client.answer(message);
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
  client.clock.advance(4.999e9);
  client.os.run();
  assert.equal(client.warnings.length, 0);
  client.clock.advance(1e6);
  client.os.run();
  assert.equal(client.warnings.length, 1);
  assert.match(client.warnings[0]!, /no answer to DMA_\w+ of \d bytes at 0x8[0-9a-f]+ within 5000 ms/);
  assert.equal((client.ended?.error as { code?: string } | undefined)?.code, 'TIMEOUT');
  assert.equal(client.clock.now(), 5e9);
  assert.deepEqual(device.calls.slice(-2), ['reset', 'close']);
});

test('answers that take 4 seconds each are waited for by nobody, and taken', () => {
  const { client, driver } = started();
  const late: Message[] = [];
  client.answerDma = (message) => {
    late.push(message);
    return undefined;
  };
  driver.add(Uint8Array.of(1, 2), 2);
  driver.kick();
  while (late.length > 0) {
    client.clock.advance(4e9);
    client.answer(late.shift()!);
    client.os.run();
  }
  assert.deepEqual(driver.receive(), Uint8Array.of(2, 1));
  assert.equal(client.ended, undefined);
});

test('a chain that is too long to be carried breaks its queue', () => {
  const { client, driver } = started();
  client.ask(
    wire.VFIO_USER_DMA_MAP,
    encodeDmaMap({ flags: 3, offset: 0, address: 0x4000_0000 as never, size: 2 ** 30 }),
  );
  const table = new DataView(client.memory.buffer, driver.queue.descriptorArea);
  driver.add(Uint8Array.of(1), 1);
  // The buffer that is to be written.
  const at = [0, 16].find((start) => (table.getUint16(start + 12, true) & 2) !== 0)!;
  table.setBigUint64(at, 0x4000_0000n, true);
  table.setUint32(at + 8, 2 ** 27, true);
  driver.kick();
  assert.equal(driver.readStatus() & 0x40, 0x40);
  assert.match(
    client.warnings[0] ?? '',
    /chain 0 has 134217729 bytes, more than the 67108864 that are carried/,
  );
  assert.equal(client.ended, undefined);
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
    client.raw(encodeMessage(message.id ^ 0x4000, message.command, wire.VFIO_USER_F_TYPE_REPLY));
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
  // Whichever access it is that is under way.
  let at = 0;
  for (let reached = true; reached; at++) {
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
    reached = asked > at;
    if (!reached) break;
    driver.kick();
    assert.equal(driver.readStatus() & 0x40, 0x40);
    assert.ok(asked <= at + 1, 'asked for memory that is gone');
    assert.equal(client.ended, undefined);
  }
  assert.ok(at >= 8, `${at} accesses`);
});

test('read-only memory is not mapped even if a descriptor came with it, and never written', () => {
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
  assert.equal(writes(), 0);
});
