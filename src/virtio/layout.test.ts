import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  array,
  be16,
  be32,
  be64,
  be64big,
  bytes,
  DeviceBench,
  defineDevice,
  le16,
  le32,
  loopback,
  openDriver,
  s8,
  sle16,
  struct,
  structQueue,
  tail,
  text,
  u8,
  union,
  type ValuesOf,
} from '../index.js';

const raw = (...values: number[]): Uint8Array => Uint8Array.from(values);

describe('numbers', () => {
  test('big-endian and signed ones lie as their names say', () => {
    const all = struct({ a: be16, b: be32, c: be64, d: be64big, e: s8, f: sle16 });
    const values = { a: 0x0102, b: 0x03040506, c: 0x0708_090a_0b0c, d: 0x0102_0304_0506_0708n, e: -2, f: -3 };
    const encoded = all.encode(values);
    assert.deepEqual(
      [...encoded],
      [1, 2, 3, 4, 5, 6, 0, 0, 7, 8, 9, 10, 11, 12, 1, 2, 3, 4, 5, 6, 7, 8, 0xfe, 0xfd, 0xff],
    );
    assert.deepEqual(all.decode(encoded), values);
  });
});

const Header = struct({ kind: u8, flags: u8, length: le16 });
const Segment = struct({ at: le32, size: le16 });

describe('nested structs and arrays', () => {
  const Request = struct({ header: Header, segments: array(Segment, 2), mac: array(u8, 3), name: text(4) });

  test('lie where they are declared, and come back as objects and arrays', () => {
    const values: ValuesOf<typeof Request> = {
      header: { kind: 1, flags: 2, length: 3 },
      segments: [
        { at: 4, size: 5 },
        { at: 6, size: 7 },
      ],
      mac: [8, 9, 10],
      name: 'hi',
    };
    const encoded = Request.encode(values);
    assert.deepEqual(
      [...encoded],
      [1, 2, 3, 0, 4, 0, 0, 0, 5, 0, 6, 0, 0, 0, 7, 0, 8, 9, 10, 0x68, 0x69, 0, 0],
    );
    assert.deepEqual(Request.decode(encoded), values);
  });

  test('what is left out is zeros; more elements than there are is a RangeError', () => {
    assert.deepEqual([...Request.encode({ segments: [{ at: 1, size: 2 }] })].slice(4, 16), [
      ...[1, 0, 0, 0, 2, 0],
      ...[0, 0, 0, 0, 0, 0],
    ]);
    assert.throws(() => Request.encode({ mac: [1, 2, 3, 4] }), /RangeError: 4 elements do not fit into 3/);
  });

  test('in a configuration space they are written where they lie', () => {
    const view = new DataView(new ArrayBuffer(Request.size));
    const config = Request.over(view);
    config.header.length = 0x0102;
    config.mac = [1, 2, 3];
    assert.deepEqual(
      [view.getUint16(2, true), config.header.length, config.mac],
      [0x0102, 0x0102, [1, 2, 3]],
    );
    assert.throws(() => config.mac.push(4), TypeError);
  });

  test('of variable length only the last field can be', () => {
    assert.throws(
      () => struct({ data: tail(8), end: u8 }),
      /field data is of variable length: only the last/,
    );
    assert.throws(() => array(struct({ data: tail(8) }), 2), /of one length/);
    assert.throws(() => tail(0), /take a whole number from 1 on/);
    assert.throws(() => array(u8, -1), /an array has -1 elements/);
  });
});

describe('tails', () => {
  const Write = struct({ sector: le32, data: tail(8) });
  const List = struct({ count: le16, segments: tail(Segment, 2) });

  test('go on to the end of the message', () => {
    assert.deepEqual([Write.size, Write.most, List.size, List.most], [4, 12, 2, 14]);
    assert.deepEqual(Write.decode(raw(1, 0, 0, 0, 7, 8)), { sector: 1, data: raw(7, 8) });
    assert.deepEqual(Write.decode(raw(1, 0, 0, 0)), { sector: 1, data: raw() });
    assert.deepEqual([...Write.encode({ sector: 2, data: raw(9) })], [2, 0, 0, 0, 9]);
    const list = { count: 1, segments: [{ at: 1, size: 2 }] };
    assert.deepEqual([...List.encode(list)], [1, 0, 1, 0, 0, 0, 2, 0]);
    assert.deepEqual(List.decode(List.encode(list)), list);
    assert.deepEqual(List.decode(raw(1, 0, 1, 0, 0, 0, 2, 0, 99)), list, 'half an element is none');
    assert.throws(() => Write.encode({ data: new Uint8Array(9) }), /9 bytes do not fit into 8/);
  });

  test('a queue takes requests up to their most, and sends answers as long as they are', async () => {
    const Read = struct({ status: u8, data: tail(100) });
    const make = defineDevice({
      id: 60,
      name: 'tails',
      queues: [
        structQueue({
          name: 'q',
          request: Write,
          response: Read,
          handle: ({ sector, data }) => ({ status: sector, data: data.map((byte) => byte + 1) }),
        }),
      ],
    });
    const bench = new DeviceBench(make);
    assert.deepEqual(await bench.call('q', Write, { sector: 5, data: raw(1, 2) }, Read), {
      status: 5,
      data: raw(2, 3),
    });
    assert.deepEqual(bench.ask('q', new Uint8Array(13), 101), raw());
    assert.deepEqual(bench.ask('q', new Uint8Array(12), 8), raw());
    assert.deepEqual(bench.ask('q', new Uint8Array(3), 8), raw());
    assert.deepEqual(bench.warnings, [
      'tails: a request on q is not answered: got 13 bytes and room for 101, expected 4 to 12 of { sector, data } and room for 1 to 101 of { status, data }',
      'tails: a request on q failed: an answer of 9 bytes does not fit into 8',
      'tails: a request on q is not answered: got 3 bytes and room for 8, expected 4 to 12 of { sector, data } and room for 1 to 101 of { status, data }',
    ]);
    const driver = await openDriver(loopback(make, { print: false }), { id: 60, features: 0n, queues: 1 });
    assert.deepEqual(await driver.queues[0]!.call(Write, { sector: 1, data: raw(4) }, Read), {
      status: 1,
      data: raw(5),
    });
    await driver.close();
  });
});

describe('unions', () => {
  const Request = union('type', le32, {
    SET: [1, struct({ delay: le32, id: le32 })],
    CANCEL: [2, struct({ id: le32 })],
    LIST: [7, struct({})],
  });
  const Status = struct({ status: le32, text: text(8) });

  test('say which struct it is by its name', () => {
    assert.deepEqual([Request.size, Request.most], [4, 12]);
    const set = { type: 'SET', delay: 5, id: 6 } as const;
    assert.deepEqual([...Request.encode(set)], [1, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0]);
    assert.deepEqual(Request.decode(Request.encode(set)), set);
    assert.deepEqual(Request.decode(raw(7, 0, 0, 0, 99)), { type: 'LIST' });
    assert.deepEqual(Request.decode(raw(9, 0, 0, 0)), { type: 'unknown', tag: 9 });
    assert.deepEqual([...Request.encode({ type: 'unknown', tag: 9 })], [9, 0, 0, 0]);
    assert.throws(() => Request.decode(raw(2, 0, 0, 0, 1)), /CANCEL \{ id \} has 8 bytes, not 5/);
    assert.throws(() => Request.decode(raw(2, 0)), /a tag of 4 bytes is not in 2/);
    assert.throws(
      () => Request.encode({ type: 'CANCLE', id: 1 } as unknown as ValuesOf<typeof Request>),
      /TypeError: type is "CANCLE", and none of SET, CANCEL, LIST: did you mean 'CANCEL'\?/,
    );
  });

  test('that can not be told apart are refused', () => {
    const arm = struct({ id: le32 });
    assert.throws(() => union('type', u8, { A: [1, arm], B: [1, arm] }), /A and B have the same tag 1/);
    assert.throws(() => union('id', u8, { A: [1, arm] }), /A has a field id/);
    assert.throws(() => union('type', u8, { unknown: [1, arm] }), /can't be called 'unknown'/);
  });

  test('are requests, typed by what they are; one that is cut short is not answered', async () => {
    const bench = new DeviceBench(
      defineDevice({
        id: 60,
        name: 'union',
        queues: [
          structQueue({
            name: 'q',
            request: Request,
            response: Status,
            handle(request) {
              switch (request.type) {
                case 'SET':
                  return { status: request.delay + request.id, text: 'set' };
                case 'CANCEL':
                  return { status: request.id, text: 'cancel' };
                case 'LIST':
                  return { status: 0, text: 'list' };
                case 'unknown':
                  return { status: request.tag, text: '?' };
              }
            },
          }),
        ],
      }),
    );
    assert.deepEqual(await bench.call('q', Request, { type: 'SET', delay: 1, id: 2 }, Status), {
      status: 3,
      text: 'set',
    });
    assert.deepEqual(Status.decode(bench.ask('q', raw(9, 0, 0, 0), 12)!), { status: 9, text: '?' });
    assert.deepEqual(bench.ask('q', raw(1, 0, 0, 0, 1), 12), raw());
    assert.deepEqual(bench.warnings, [
      'union: a request on q is not answered: SET { delay, id } has 12 bytes, not 5',
    ]);
  });

  test('can be the last field of a struct', () => {
    const Outer = struct({ id: u8, body: Request });
    const values = { id: 1, body: { type: 'CANCEL', id: 2 } } as const;
    assert.deepEqual([...Outer.encode(values)], [1, 2, 0, 0, 0, 2, 0, 0, 0]);
    assert.deepEqual(Outer.decode(Outer.encode(values)), values);
    assert.match(
      Outer.problem({ id: 1, body: { type: 'SET', id: 1 } })!,
      /field body: field delay is missing/,
    );
  });
});

test('a struct says what is wrong with values, and where', () => {
  const Answer = struct({
    header: Header,
    list: array(le16, 2),
    data: bytes(2),
    name: text(2),
    more: tail(Segment, 1),
  });
  const fine = { header: { kind: 1, flags: 2, length: 3 }, list: [1], data: raw(1), name: 'a', more: [] };
  assert.equal(Answer.problem(fine), undefined);
  for (const [change, problem] of [
    [
      { header: { kind: 1, flag: 2, length: 3 } },
      "'header.flag' is no field of { kind, flags, length }: did you mean 'flags'?",
    ],
    [{ header: { kind: 1, flags: 2 } }, 'field header.length is missing'],
    [{ header: 5 }, 'header is the number 5, and not { kind, flags, length }'],
    [{ header: { kind: '1', flags: 2, length: 3 } }, 'field header.kind is "1", and not a number'],
    [{ list: [1, Number.NaN] }, 'field list[1] is the number NaN, and not a number'],
    [{ list: [1, 2, 3] }, 'field list has 3 elements, and room for 2'],
    [{ list: 1 }, 'field list is the number 1, and not an array'],
    [{ data: [1] }, 'field data is an array, and not a Uint8Array'],
    [{ data: raw(1, 2, 3) }, 'field data has 3 bytes, and room for 2'],
    [{ name: undefined }, 'field name is missing'],
    [{ more: [{ at: 1 }] }, 'field more[0].size is missing'],
  ] as const) {
    assert.equal(Answer.problem({ ...fine, ...change }), problem);
  }
  assert.equal(Answer.problem(undefined), 'it is undefined, and not { header, list, data, name, more }');
});
