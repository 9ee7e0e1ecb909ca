import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { unpackLz4Legacy } from './lz4.js';
import { bzImageRelease, extractVmlinux, payload } from './vmlinux.js';

const le32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
};

/** A sequence of an LZ4 block: literals, then a match (length at least 4), or nothing behind the literals. */
function sequence(literals: Uint8Array, match?: { distance: number; length: number }): Buffer {
  const more = (length: number): number[] => {
    if (length < 15) return [];
    const rest = length - 15;
    return [...new Array<number>(Math.floor(rest / 255)).fill(255), rest % 255];
  };
  const matchLength = match ? match.length - 4 : 0;
  return Buffer.from([
    (Math.min(literals.length, 15) << 4) | Math.min(matchLength, 15),
    ...more(literals.length),
    ...literals,
    ...(match ? [match.distance & 255, match.distance >> 8, ...more(matchLength)] : []),
  ]);
}

const frame = (...blocks: Buffer[]): Buffer =>
  Buffer.concat([le32(0x184c2102), ...blocks.flatMap((block) => [le32(block.length), block])]);

test('LZ4: literals, matches, matches into their own output, matches into the block before', () => {
  const first = Buffer.concat([
    sequence(Buffer.from('abc'), { distance: 3, length: 7 }),
    sequence(Buffer.from('-')),
  ]);
  const second = Buffer.concat([
    sequence(Buffer.alloc(0), { distance: 5, length: 4 }),
    sequence(Buffer.from('!')),
  ]);
  assert.equal(Buffer.from(unpackLz4Legacy(frame(first), 11)).toString(), 'abcabcabca-');
  assert.equal(Buffer.from(unpackLz4Legacy(frame(first, second), 16)).toString(), 'abcabcabca-abca!');
});

test('LZ4: what a simple packer makes comes back, long runs and all', () => {
  const step = fc.record({
    literals: fc.uint8Array({ maxLength: 300 }),
    back: fc.nat(70_000),
    length: fc.integer({ min: 4, max: 600 }),
  });
  fc.assert(
    fc.property(
      fc.array(step, { minLength: 1 }),
      fc.uint8Array({ minLength: 1, maxLength: 300 }),
      (steps, last) => {
        const output: number[] = [];
        const packed: Buffer[] = [];
        for (const { literals, back, length } of steps) {
          output.push(...literals);
          if (output.length === 0) continue;
          const distance = 1 + (back % Math.min(output.length, 65_535));
          for (let copied = 0; copied < length; copied++) output.push(output[output.length - distance]!);
          packed.push(sequence(literals, { distance, length }));
        }
        output.push(...last);
        packed.push(sequence(last));
        assert.deepEqual([...unpackLz4Legacy(frame(Buffer.concat(packed)), output.length)], output);
      },
    ),
  );
});

test('LZ4: broken data is an error, never a wrong or endless answer', () => {
  const good = frame(
    Buffer.concat([sequence(Buffer.from('abc'), { distance: 3, length: 7 }), sequence(Buffer.from('-'))]),
  );
  assert.throws(() => unpackLz4Legacy(good, 10), RangeError);
  assert.throws(() => unpackLz4Legacy(good, 12), RangeError);
  assert.throws(() => unpackLz4Legacy(good.subarray(1), 11), RangeError);
  const tooFar = Buffer.concat([
    sequence(Buffer.from('abc'), { distance: 4, length: 7 }),
    sequence(Buffer.from('-')),
  ]);
  assert.throws(() => unpackLz4Legacy(frame(tooFar), 11), RangeError);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      try {
        assert.equal(unpackLz4Legacy(frame(Buffer.from(bytes)), 50).length, 50);
      } catch (error) {
        assert.ok(error instanceof RangeError, String(error));
      }
    }),
  );
});

/** A bzImage with 3 setup sectors (and the boot sector) and some code before the payload. */
function bzImage(packed: Buffer): Buffer {
  const head = Buffer.alloc(4 * 512 + 100);
  head[0x1f1] = 3;
  head.write('HdrS', 0x202);
  head.writeUInt16LE(0x020f, 0x206);
  head.writeUInt32LE(100, 0x248);
  head.writeUInt32LE(packed.length, 0x24c);
  return Buffer.concat([head, packed, Buffer.from('behind')]);
}

const ELF = Buffer.concat([Buffer.from([0x7f]), Buffer.from('ELF and the rest of a kernel')]);

/** For kernels that Node unpacks alone. */
const nobody = async (packing: string): Promise<never> => assert.fail(packing);

test('the kernel is found in a bzImage, packed with LZ4 or gzip', async () => {
  const lz4 = Buffer.concat([frame(sequence(ELF)), le32(ELF.length)]);
  assert.deepEqual(payload(bzImage(lz4)), lz4);
  assert.deepEqual(Buffer.from(await extractVmlinux(bzImage(lz4), nobody)), ELF);
  assert.deepEqual(await extractVmlinux(bzImage(gzipSync(ELF)), nobody), ELF);
});

for (const [packing, magic] of [
  ['xz', 'fd377a585a00'],
  ['zstd', '28b52ffd'],
] as const) {
  test(`a kernel packed with ${packing} is unpacked without the size behind it`, async () => {
    const packed = Buffer.concat([Buffer.from(magic, 'hex'), Buffer.from('packed')]);
    const vmlinux = await extractVmlinux(bzImage(Buffer.concat([packed, le32(99)])), async (as, bytes) => {
      assert.equal(as, packing);
      assert.deepEqual(bytes, packed);
      return ELF;
    });
    assert.deepEqual(vmlinux, ELF);
  });
}

test('a bzImage names its release', () => {
  const image = Buffer.concat([bzImage(gzipSync(ELF)), Buffer.from('6.12.1-mine (who@where) #1\0')]);
  image.writeUInt16LE(image.length - 27 - 0x200, 0x20e);
  assert.equal(bzImageRelease(image), '6.12.1-mine');
});

test('no bzImage, a cut one, another packing, no ELF inside: each is named', async () => {
  const good = bzImage(gzipSync(ELF));
  const refused = (image: Buffer, message: RegExp): Promise<void> =>
    assert.rejects(extractVmlinux(image, nobody), { code: 'HOST', message });
  await refused(Buffer.from('nothing'), /no bzImage/);
  await refused(ELF, /no bzImage/);
  await refused(good.subarray(0, -20), /cut off/);
  await refused(bzImage(Buffer.from('425a683931415926', 'hex')), /packed in an unknown way \(425a6839/);
  await refused(bzImage(gzipSync('not an ELF file')), /no ELF/);
});
