import { gunzipSync } from 'node:zlib';
import { LZ4_LEGACY_MAGIC, unpackLz4Legacy } from './lz4.js';
import type { Packing } from './unpackers.js';
import { VmError } from './vm-error.js';

/** Offsets in a bzImage's setup header (Linux, Documentation/arch/x86/boot.rst). */
const SETUP_SECTS = 0x1f1;
const HEADER_MAGIC = 0x202;
const VERSION = 0x206;
const KERNEL_VERSION = 0x20e;
const PAYLOAD_OFFSET = 0x248;
const PAYLOAD_LENGTH = 0x24c;

/** `HdrS`. */
const MAGIC = 0x53726448;
/** The protocol that brought the payload fields. */
const VERSION_WITH_PAYLOAD = 0x0208;
const ELF = 0x464c457f;
const GZIP = 0x8b1f;
const ZSTD = 0xfd2fb528;
/** The first four of six bytes. */
const XZ = 0x587a37fd;

/**
 * The ELF kernel inside a bzImage. QEMU starts it through its PVH entry, in a third of the time that the bzImage's own
 * unpacking takes under emulation.
 *
 * @param unpack - for what Node can't unpack itself.
 * @throws VmError `HOST` for a file that is no bzImage, or is packed in a way that Debian's kernels are not.
 */
export async function extractVmlinux(
  bzImage: Buffer,
  unpack: (packing: Packing, packed: Uint8Array) => Promise<Uint8Array>,
): Promise<Uint8Array> {
  const packed = payload(bzImage);
  // The build appends the unpacked size to the payload (for gzip it is part of the format).
  const size = packed.readUInt32LE(packed.length - 4);
  const alone = packed.subarray(0, -4);
  const magic = packed.readUInt32LE(0);
  let vmlinux: Uint8Array;
  if (magic === LZ4_LEGACY_MAGIC) vmlinux = unpackLz4Legacy(alone, size);
  else if ((magic & 0xffff) === GZIP) vmlinux = gunzipSync(packed);
  else if (magic === ZSTD) vmlinux = await unpack('zstd', alone);
  else if (magic === XZ) vmlinux = await unpack('xz', alone);
  else throw new VmError('HOST', `the kernel is packed in an unknown way (${packed.toString('hex', 0, 6)})`);
  if (!isElf(vmlinux)) throw new VmError('HOST', 'the kernel that was packed is no ELF file');
  return vmlinux;
}

/** Whether this is an unpacked kernel already. */
export function isElf(file: Uint8Array): boolean {
  return file.length >= 4 && Buffer.from(file.buffer, file.byteOffset, 4).readUInt32LE(0) === ELF;
}

/** What `uname -r` says of the kernel in a bzImage. */
export function bzImageRelease(bzImage: Buffer): string {
  payload(bzImage);
  const at = bzImage.readUInt16LE(KERNEL_VERSION) + 0x200;
  const text = bzImage.toString('latin1', at, bzImage.indexOf(0, at));
  return text.split(' ')[0]!;
}

/** The packed kernel, with the four bytes of its size behind it. */
export function payload(bzImage: Buffer): Buffer {
  if (
    bzImage.length < PAYLOAD_LENGTH + 4 ||
    bzImage.readUInt32LE(HEADER_MAGIC) !== MAGIC ||
    bzImage.readUInt16LE(VERSION) < VERSION_WITH_PAYLOAD
  ) {
    throw new VmError('HOST', 'this kernel is no bzImage');
  }
  // Zero sectors means four, for the sake of very old kernels.
  const setup = ((bzImage[SETUP_SECTS] || 4) + 1) * 512;
  const start = setup + bzImage.readUInt32LE(PAYLOAD_OFFSET);
  const length = bzImage.readUInt32LE(PAYLOAD_LENGTH);
  if (length < 8 || start + length > bzImage.length) throw new VmError('HOST', 'this kernel is cut off');
  return bzImage.subarray(start, start + length);
}
