import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { InspectEvent } from '../../observe/event.js';
import { le32, struct } from '../../virtio/struct.js';
import { shapeFrom } from '../queue-shape.js';
import type { Ear } from './ear.js';
import { Numbers } from './numbers.js';
import { ReportReader } from './read-report.js';
import { ReportWriter } from './report-writer.js';

/** An ear that keeps what it is told. */
function listening(): { ear: Ear; heard: unknown[][] } {
  const heard: unknown[][] = [];
  const keep =
    (what: string) =>
    (...told: unknown[]): void =>
      void heard.push([what, ...told]);
  const names = ['event', 'counted', 'missed', 'missedLines', 'did', 'ring', 'holds', 'hits'];
  return { ear: Object.fromEntries(names.map((name) => [name, keep(name)])) as unknown as Ear, heard };
}

const config = struct({ a: le32 });
const device = {
  id: 60,
  name: 'adder',
  features: 3n,
  queues: [{ name: 'q', size: 8 }],
  config: Uint8Array.of(1, 0, 0, 0),
};
const connected = {
  type: 'connected',
  time: 10,
  connection: 3,
  socket: '/s',
  transport: 'vhost-user',
} as const;

/** Says the same things to an ear, whose clock is so far ahead, and which calls the connection so. */
function sayAll(ear: Ear, ahead: number, connection: number): void {
  const at = (time: number): number => time + ahead;
  const counts = { taken: 2 ** 40, used: 5, kicks: 4, interrupts: 3, suppressed: 2, unkicked: 1 };
  ear.event({ type: 'status', time: at(20), connection, status: 15 });
  ear.counted(connection, 0, counts, 7);
  ear.missed(connection, 0, { taken: 99, waiting: 3 }, at(30));
  ear.missedLines(connection, 12, at(40));
  ear.did(connection, 0, 'hold', 'type == 77', at(50.5));
  const sizes = { readable: 4, writable: 4, descriptors: [{ address: 4096, length: 4, writable: false }] };
  const chain = { connection, queue: 0, name: 'q', chain: 1, head: 2 };
  ear.event({ type: 'taken', time: at(60), ...chain, ...sizes, bytes: Uint8Array.of(1, 2, 3, 4) });
  const copy = { size: 8, first: 4, entries: 2, base: 0x1_0002, packed: true, eventIdx: true };
  const heads = [{ head: 1, chain: 5, taken: at(55) }, { head: 2 }];
  const ring = { connection, queue: 0, time: at(70), heads, inFlight: 2, waiting: 1 };
  ear.ring({ ...ring, copy: { ...copy, bytes: Uint8Array.of(9, 8, 7) } });
  ear.ring({ ...ring, heads: [], reason: 'it has no ring' });
  ear.holds([
    { connection, queue: 0, since: at(50), by: 'breakpoint', breakpoint: 1, reason: 'r', waiting: 1 },
  ]);
  ear.hits({ id: 1, hits: 2, misfits: 3 });
  ear.event({ type: 'gone', time: at(80), connection, error: 'it broke' });
}

test('what is said to a report is read from it: with the times of the reader, and his numbers', () => {
  const { ear, heard } = listening();
  const numbers = new Numbers((socket, connection) => (socket === '/s' && connection === 3 ? 41 : 0));
  const reader = new ReportReader(ear, 1000, numbers);
  let urgent = 0;
  const writer = new ReportWriter(() => {
    urgent += 1;
  });
  const more = { configLayout: config, featureNames: { BIG: 1 } };
  writer.event({ ...connected, device: { ...device, ...more } } as InspectEvent);
  sayAll(writer, 0, 3);
  assert.equal(urgent, 3, 'who comes and goes, and what is held');
  reader.read(writer.take()!);
  assert.equal(writer.take(), undefined);
  const [, first] = heard.shift() as [string, Extract<InspectEvent, { type: 'connected' }>];
  assert.deepEqual([first.time, first.connection, first.device.name], [1010, 41, 'adder']);
  assert.deepEqual(first.device.featureNames, { BIG: 1 });
  assert.deepEqual(shapeFrom(first.device.configLayout), shapeFrom(config));
  const expected = listening();
  sayAll(expected.ear, 1000, 41);
  assert.deepEqual(heard, expected.heard);
  assert.throws(() => reader.read(Uint8Array.of(200)), RangeError);
});

test('while nobody takes a report it does not grow for ever, and says what it left out', () => {
  const { ear, heard } = listening();
  const reader = new ReportReader(ear, 0, new Numbers((_, connection) => connection));
  const writer = new ReportWriter(() => {});
  writer.event({ ...connected, device });
  const bytes = new Uint8Array(64);
  const written: InspectEvent = { type: 'config-written', time: 1, connection: 3, offset: 0, bytes };
  for (let i = 0; i < 50_000; i++) writer.event(written);
  writer.event({ type: 'reset', time: 2, connection: 3 });
  const first = writer.take()!;
  assert.ok(first.length < (1 << 20) + 1000, `${first.length}`);
  reader.read(first);
  assert.deepEqual(heard.at(-1), ['event', { type: 'reset', time: 2, connection: 3 }]);
  writer.event(written);
  reader.read(writer.take()!);
  const [, dropped] = heard.at(-2) as [string, InspectEvent];
  assert.ok(dropped.type === 'dropped');
  assert.equal(
    heard.filter(([, event]) => (event as InspectEvent).type === 'config-written').length + dropped.count,
    50_001,
  );
});
