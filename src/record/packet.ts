import type { InspectEvent, SeenDescriptor, SeenDevice } from '../observe/event.js';
import { ByteReader, type ByteWriter } from '../virtio/byte-codec.js';
import type { QueueSpec } from '../virtio/device.js';
import { knownShapes } from './known-shapes.js';
import { parseShape, shapeOf, shapeText } from './shape.js';
import { ShapeLayout } from './shape-layout.js';

/*
 * An event as the bytes of a packet: docs/recordings.md has the format. 16 bytes that all have, then what is the type's own; little-endian, texts and bytes
 * with their length before them.
 */

/** Grows when a reader of the last one would misread it. */
export const PACKET_VERSION = 1;

/** By number: what the second byte says. */
export const PACKET_TYPES: readonly (InspectEvent['type'] | undefined)[] = [
  undefined,
  'connected',
  'gone',
  'features',
  'status',
  'running',
  'paused',
  'reset',
  'rang',
  'queue-started',
  'queue-stopped',
  'config-read',
  'config-written',
  'config-changed',
  'available',
  'kicked',
  'taken',
  'used',
  'interrupted',
  'interrupt-suppressed',
  'broken',
  'line',
  'warning',
  'replaced',
  'dropped',
];

const NUMBERS = new Map(PACKET_TYPES.map((type, number) => [type, number]));

/** Bytes that all packets begin with. */
export const PACKET_HEADER = 16;
const NO_QUEUE = 0xffff;
const F_ASKED = 1;

const RING_FLAGS = { packed: 1, eventIdx: 2, indirect: 4, inOrder: 8 } as const;

/** Appends an event. @param connection - its number in the recording. */
export function writePacket(out: ByteWriter, event: InspectEvent, connection: number): void {
  out.u8(PACKET_VERSION);
  out.u8(NUMBERS.get(event.type)!);
  out.le16('queue' in event && event.queue !== undefined ? event.queue : NO_QUEUE);
  out.le32(connection);
  out.le32('chain' in event ? event.chain : 0);
  out.le32(event.type === 'available' && event.asked ? F_ASKED : 0);
  switch (event.type) {
    case 'connected':
      out.text(event.socket);
      out.text(event.transport);
      writeDevice(out, event.device);
      return;
    case 'replaced':
      writeDevice(out, event.device);
      return;
    case 'gone':
      out.text(event.error ?? '');
      return;
    case 'features':
      out.mask(event.accepted);
      out.mask(event.offered);
      return;
    case 'status':
      out.le32(event.status);
      return;
    case 'queue-started': {
      let flags = 0;
      for (const [name, flag] of Object.entries(RING_FLAGS))
        if (event[name as keyof typeof RING_FLAGS]) flags |= flag;
      out.le32(event.size);
      out.le32(event.base);
      out.le32(flags);
      out.le64(event.descriptorArea);
      out.le64(event.driverArea);
      out.le64(event.deviceArea);
      return;
    }
    case 'queue-stopped':
      out.le32(event.base);
      return;
    case 'config-read':
    case 'config-written':
      out.le32(event.offset);
      out.bytes(event.bytes);
      return;
    case 'config-changed':
      out.bytes(event.bytes);
      return;
    case 'available':
    case 'dropped':
      out.le32(event.count);
      return;
    case 'taken':
      out.le32(event.head);
      out.le32(event.readable);
      out.le32(event.writable);
      out.le32(event.descriptors.length);
      for (const { address, length, writable } of event.descriptors) {
        out.le64(address);
        out.le32(length);
        out.le32(writable ? 1 : 0);
      }
      out.bytes(event.bytes);
      return;
    case 'used':
      out.le32(event.head);
      out.le32(event.consumed);
      out.le32(event.written);
      out.le64(Math.max(0, event.time - event.taken));
      out.bytes(event.bytes);
      return;
    case 'broken':
      out.text(event.rule ?? '');
      out.text(event.error);
      return;
    case 'line':
    case 'warning':
      out.text(event.text);
      return;
  }
}

/** Bytes of a chain that the event does not have. */
export function missingOf(event: InspectEvent): number {
  if (event.type === 'taken') return Math.max(0, event.readable - event.bytes.length);
  return event.type === 'used' ? Math.max(0, event.written - event.bytes.length) : 0;
}

/**
 * Reads one.
 *
 * @param time - ns.
 * @param nameOf - the name of a queue of a connection.
 * @throws RangeError for what can't be.
 */
export function readPacket(
  bytes: Uint8Array,
  time: number,
  nameOf: (connection: number, queue: number) => string,
): InspectEvent {
  const from = new ByteReader(bytes);
  const version = from.u8();
  if (version !== PACKET_VERSION)
    throw new RangeError(`its version is ${version}, and not ${PACKET_VERSION}`);
  const number = from.u8();
  const type = PACKET_TYPES[number];
  if (type === undefined) throw new RangeError(`there is no event ${number}`);
  const queue = from.le16();
  const connection = from.le32();
  const chain = from.le32();
  const flags = from.le32();
  const here = { time, connection };
  const of = { ...here, queue, name: queue === NO_QUEUE ? '' : nameOf(connection, queue) };
  const wherever = queue === NO_QUEUE ? here : of;
  switch (type) {
    case 'connected':
      return { type, ...here, socket: from.text(), transport: from.text(), device: readDevice(from) };
    case 'replaced':
      return { type, ...here, device: readDevice(from) };
    case 'gone': {
      const error = from.text();
      return { type, ...here, ...(error !== '' && { error }) };
    }
    case 'features':
      return { type, ...here, accepted: from.mask(), offered: from.mask() };
    case 'status':
      return { type, ...here, status: from.le32() };
    case 'running':
    case 'paused':
    case 'reset':
    case 'rang':
      return { type, ...here };
    case 'queue-started': {
      const [size, base, how] = [from.le32(), from.le32(), from.le32()];
      const [descriptorArea, driverArea, deviceArea] = [from.le64(), from.le64(), from.le64()];
      return {
        ...{ type, ...of, size, base, descriptorArea, driverArea, deviceArea },
        packed: (how & RING_FLAGS.packed) !== 0,
        eventIdx: (how & RING_FLAGS.eventIdx) !== 0,
        indirect: (how & RING_FLAGS.indirect) !== 0,
        inOrder: (how & RING_FLAGS.inOrder) !== 0,
      };
    }
    case 'queue-stopped':
      return { type, ...of, base: from.le32() };
    case 'config-read':
    case 'config-written':
      return { type, ...here, offset: from.le32(), bytes: from.bytes() };
    case 'config-changed':
      return { type, ...here, bytes: from.bytes() };
    case 'available':
      return { type, ...of, count: from.le32(), asked: (flags & F_ASKED) !== 0 };
    case 'kicked':
      return { type, ...of };
    case 'taken': {
      const [head, readable, writable, count] = [from.le32(), from.le32(), from.le32(), from.le32()];
      const descriptors: SeenDescriptor[] = [];
      for (let i = 0; i < count; i++)
        descriptors.push({ address: from.le64(), length: from.le32(), writable: from.le32() !== 0 });
      return { type, ...of, chain, head, readable, writable, descriptors, bytes: from.bytes() };
    }
    case 'used': {
      const [head, consumed, written, took] = [from.le32(), from.le32(), from.le32(), from.le64()];
      return { type, ...of, chain, head, consumed, written, taken: time - took, bytes: from.bytes() };
    }
    case 'interrupted':
    case 'interrupt-suppressed':
      return { type, ...wherever };
    case 'broken': {
      const [rule, error] = [from.text(), from.text()];
      return { type, ...wherever, ...(rule !== '' && { rule }), error };
    }
    case 'line':
    case 'warning':
      return { type, ...here, text: from.text() };
    case 'dropped':
      return { type, ...here, count: from.le32() };
  }
}

function writeDevice(out: ByteWriter, { id, name, features, queues, config }: SeenDevice): void {
  out.le32(id);
  out.text(name);
  out.mask(features);
  out.bytes(config);
  out.le32(queues.length);
  for (const queue of queues) {
    const known = knownShapes(id, queue.name);
    const { request, response } = queue.shape ?? {};
    out.le32(queue.size);
    out.text(queue.name);
    out.text(request === undefined ? (known.request ?? '') : shapeText(shapeOf(request)));
    out.text(response === undefined ? (known.response ?? '') : shapeText(shapeOf(response)));
  }
}

/** Queues that a device may have, whatever a recording claims. */
const QUEUES = 65_535;

function readDevice(from: ByteReader): SeenDevice {
  const [id, name, features, config, count] = [
    from.le32(),
    from.text(),
    from.mask(),
    from.bytes(),
    from.le32(),
  ];
  if (count > QUEUES) throw new RangeError(`${count} queues can't be`);
  const queues: QueueSpec[] = [];
  for (let i = 0; i < count; i++) {
    const [size, queue, request, response] = [from.le32(), from.text(), layout(from), layout(from)];
    // Shapes of the two sides are told one by one; one without a request has an empty one.
    const shape = { request: request ?? EMPTY, ...(response !== undefined && { response }) };
    const any = request !== undefined || response !== undefined;
    queues.push({ name: queue, size, ...(any && { shape }) });
  }
  return { id, name, features, queues, config };
}

const EMPTY = new ShapeLayout({ kind: 'tail', element: undefined });

function layout(from: ByteReader): ShapeLayout | undefined {
  const shape = parseShape(from.text());
  return shape === undefined ? undefined : new ShapeLayout(shape);
}
