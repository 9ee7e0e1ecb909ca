import koffi from 'koffi';
import { check } from './errno.js';
import { memcpy, mmap, munmap } from './libc.js';
import { NativeBuffer } from './native-buffer.js';
import type { SharedFile } from './shared-file.js';

const PROT_READ = 0x1;
const PROT_READ_WRITE = 0x3;
const MAP_SHARED = 0x01;
const MAP_PRIVATE = 0x02;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;

interface Stretch {
  readonly start: number;
  readonly end: number;
}

/** What is mapped, apart from the object that is to be collected. */
interface Held {
  readonly address: number;
  readonly size: number;
  /** Bytes that are unmapped as one. */
  readonly page: number;
  /** Where ArrayBuffers were put over it, in bytes from its start. */
  readonly viewed: Stretch[];
  /** What is mapped still. */
  mapped: Stretch[];
}

/** Something that lives as long as an ArrayBuffer over the range does. */
type Keeper = { readonly held: Held };

const keepers = new WeakMap<ArrayBuffer, Keeper>();
/** Unmaps what no ArrayBuffer is over, when nobody can make one any more. */
const forgotten = new FinalizationRegistry<Held>(trim);
/** Unmaps the rest when no ArrayBuffer is left; to unmap earlier would make every view a trap. */
const unreachable = new FinalizationRegistry<Held>((held) => {
  for (const { start, end } of held.mapped) munmap(held.address + start, end - start);
  held.mapped = [];
});

/** Bytes that are copied at once. */
const CHUNK = 64 * 1024;
const staged = new NativeBuffer(CHUNK);

/**
 * A part of a file, mapped as one. Its pages come when they are touched. It can be reached in two ways: through ArrayBuffers, each of which
 * Node counts as memory in full (and collects garbage for), and by copying, which costs a call and counts nothing.
 */
export class AddressRange {
  readonly #held: Held;
  readonly #keeper: Keeper;
  #released = false;

  /**
   * @param offset - a multiple of the page size, like `size`.
   * @throws OsError what mmap says; `ENOMEM` when huge pages can't be reserved.
   */
  constructor(fd: number, offset: number, size: number, { huge, page }: SharedFile, readOnly = false) {
    const flags = huge ? MAP_SHARED : MAP_SHARED | MAP_NORESERVE;
    const address = mmap(0, size, readOnly ? PROT_READ : PROT_READ_WRITE, flags, fd, offset);
    check(address, 'mmap', `map ${size} bytes from ${offset} of a file`);
    this.#held = { address, size, page, viewed: [], mapped: [{ start: 0, end: size }] };
    this.#keeper = { held: this.#held };
    forgotten.register(this, this.#held, this);
    unreachable.register(this.#keeper, this.#held);
  }

  get address(): number {
    return this.#held.address;
  }

  get released(): boolean {
    return this.#released;
  }

  /** An ArrayBuffer over a part of it; not to be called after `release`. */
  buffer(start: number, length: number): ArrayBuffer {
    const buffer = koffi.view(this.#held.address + start, length);
    keepers.set(buffer, this.#keeper);
    this.#held.viewed.push({ start, end: start + length });
    return buffer;
  }

  copyOut(at: number, into: Uint8Array, start: number, length: number): void {
    if (this.#released) {
      into.fill(0, start, start + length);
      return;
    }
    for (let done = 0; done < length; done += CHUNK) {
      const size = Math.min(CHUNK, length - done);
      memcpy(staged.address, this.#held.address + at + done, size);
      into.set(staged.bytes.subarray(0, size), start + done);
    }
  }

  copyIn(at: number, from: Uint8Array, start: number, length: number): void {
    if (this.#released) return;
    for (let done = 0; done < length; done += CHUNK) {
      const size = Math.min(CHUNK, length - done);
      staged.bytes.set(from.subarray(start + done, start + done + size));
      memcpy(this.#held.address + at + done, staged.address, size);
    }
  }

  /**
   * Lets the file go. Zero pages take its place at once where views may be held; the rest, and those once the views are gone, are given back.
   * Should the kernel be out of memory for this, the file stays until then, too.
   */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    forgotten.unregister(this);
    trim(this.#held);
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
    for (const { start, end } of this.#held.mapped) {
      mmap(this.#held.address + start, end - start, PROT_READ_WRITE, flags, -1, 0);
    }
  }
}

/** Unmaps what no ArrayBuffer is over. */
function trim(held: Held): void {
  const kept: Stretch[] = [];
  let at = 0;
  for (const { start, end } of held.viewed.sort((a, b) => a.start - b.start)) {
    const stretch = {
      start: Math.floor(start / held.page) * held.page,
      end: Math.ceil(end / held.page) * held.page,
    };
    if (stretch.start > at) munmap(held.address + at, stretch.start - at);
    if (stretch.end <= at) continue;
    kept.push({ start: Math.max(at, stretch.start), end: stretch.end });
    at = stretch.end;
  }
  if (at < held.size) munmap(held.address + at, held.size - at);
  held.mapped = kept;
}
