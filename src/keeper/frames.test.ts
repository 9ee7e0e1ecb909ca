import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { encodeFrame, type Frame, FrameDecoder, type FromWorker, partsOf } from './frames.js';

const settle = { say: 'settle', size: 20, drop: ['a*z'], keep: 'k', put: [] } as const;

test('frames come out as they were put in, however the stream is cut', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 40 })),
      fc.array(fc.integer({ min: 1, max: 30 })),
      (all, cuts) => {
        const stream = all.map((bytes) => encodeFrame(settle, bytes));
        const bytes = Uint8Array.from(stream.flatMap((frame) => [...frame]));
        const decoder = new FrameDecoder<FromWorker>();
        const frames: Frame<FromWorker>[] = [];
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const size = cuts.length === 0 ? bytes.length : cuts[i % cuts.length]!;
          frames.push(...decoder.push(bytes.subarray(at, at + size), []));
          at += size;
        }
        assert.deepEqual(
          frames.map((frame) => [...frame.bytes]),
          all.map((each) => [...each]),
        );
        for (const { body } of frames) assert.deepEqual(body, settle);
      },
    ),
  );
});

test('descriptors are those of the last frame that begins in a read; of one that never became whole they are given back', () => {
  const one = encodeFrame({ say: 'pong' });
  const decoder = new FrameDecoder<FromWorker>();
  const both = Uint8Array.from([...one, ...encodeFrame(settle).subarray(0, 9)]);
  const [first] = decoder.push(both, [7, 8]);
  assert.deepEqual(first!.fds, []);
  const [second] = decoder.push(encodeFrame(settle).subarray(9), []);
  assert.deepEqual(second!.fds, [7, 8]);
  decoder.push(one.subarray(0, 3), [9]);
  assert.deepEqual(decoder.abandon(), [9]);
  assert.deepEqual(decoder.abandon(), []);
});

test('what is kept has its share of a frame, and the rest is left', () => {
  const frame = { body: undefined, bytes: Uint8Array.of(1, 2, 3, 4, 5), fds: [10, 11, 12] };
  const [items, rest] = partsOf(frame, [
    { key: 'a', size: 2, fds: 2 },
    { key: 'b', size: 0, fds: 0 },
  ]);
  assert.deepEqual(items, [
    { key: 'a', bytes: Uint8Array.of(1, 2), fds: [10, 11] },
    { key: 'b', bytes: new Uint8Array(), fds: [] },
  ]);
  assert.deepEqual([...rest], [3, 4, 5]);
  assert.deepEqual(frame.fds, [12]);
});
