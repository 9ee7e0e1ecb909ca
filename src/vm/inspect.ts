import { statfs } from 'node:fs/promises';
import path from 'node:path';
import { bestAccel } from './accel.js';
import { Apt, whyNoApt } from './apt.js';
import { Cache, whyUnusable } from './cache.js';
import { findProgram } from './find-program.js';
import { checkQemu, provisionedQemu, QEMU_PROGRAM, qemuCommand } from './qemu.js';
import { provisionedKernel } from './stock-kernel.js';
import { provisionedToolchain, whyNotTheMachines } from './toolchain.js';
import { VmError } from './vm-error.js';

/** One thing that a guest needs. */
export interface Finding {
  readonly what: string;
  /** Whether a guest can be had as far as this thing goes; what can still be fetched is fine. */
  readonly ok: boolean;
  readonly detail: string;
  /** Whether it is not there, and would be fetched. */
  readonly fetched?: boolean;
  /** What to do about it. */
  readonly hint?: string;
}

/** Bytes that everything needs in the cache, with room to build. */
const SPACE = 600e6;
/** Bytes that a guest's code and image need when all else is there. */
const BUILD_SPACE = 50e6;

/** Looks at what `findQemu` and `prepareGuest` would find, without fetching or changing anything. */
export async function inspect(cache: Cache = Cache.ofUser()): Promise<Finding[]> {
  const noApt = whyNoApt();
  const provided = [
    await inspectQemu(cache, noApt),
    await inspectKernel(cache, noApt),
    await inspectCompiler(cache, noApt),
  ];
  const fetches = provided.some(({ fetched }) => fetched === true);
  return [
    { what: 'node', ok: true, detail: process.versions.node },
    ...provided,
    {
      what: 'processor',
      ok: true,
      detail: bestAccel() === 'kvm' ? 'KVM' : "QEMU's emulation (no KVM for this user)",
    },
    await inspectArchive(noApt, fetches),
    await inspectCache(cache, fetches),
  ];
}

/** It is of no interest once everything is there. */
async function inspectArchive(noApt: string | undefined, fetches: boolean): Promise<Finding> {
  const what = "Debian's archive";
  if (noApt)
    return { what, ok: false, detail: noApt, hint: 'use Debian on x86-64 to have the guest fetched' };
  if (!fetches) return { what, ok: true, detail: 'not needed: all that is fetched is in the cache' };
  const why = await Apt.whyUnreachable();
  if (why === undefined) return { what, ok: true, detail: 'answers' };
  return {
    what,
    ok: false,
    detail: why,
    hint: 'connect to the network, or set VIRTIO_MISC_DEBIAN_MIRROR to the address of a mirror',
  };
}

async function inspectQemu(cache: Cache, noApt: string | undefined): Promise<Finding> {
  const what = 'qemu';
  const named = process.env.VIRTIO_MISC_QEMU;
  const program = named || findProgram(QEMU_PROGRAM);
  const checked = program ? await checkQemu([program]) : `there is no ${QEMU_PROGRAM} on PATH`;
  if (typeof checked !== 'string') {
    return {
      what,
      ok: true,
      detail: `${checked.version} (${program}), with vhost-user and vfio-user devices`,
    };
  }
  if (named) return { what, ok: false, detail: checked, hint: 'correct VIRTIO_MISC_QEMU, or unset it' };
  const prefix = await provisionedQemu(cache);
  if (prefix) {
    const provisioned = await checkQemu(qemuCommand(prefix));
    if (typeof provisioned !== 'string') {
      return { what, ok: true, detail: `${provisioned.version} from Debian, in the cache (${checked})` };
    }
    return { what, ok: false, detail: provisioned, hint: `remove ${prefix} to have it fetched again` };
  }
  if (!noApt) return { what, ok: true, fetched: true, detail: `will be fetched from Debian (${checked})` };
  return {
    what,
    ok: false,
    detail: checked,
    hint: 'install QEMU 11.1 or later, or name one in VIRTIO_MISC_QEMU',
  };
}

async function inspectKernel(cache: Cache, noApt: string | undefined): Promise<Finding> {
  const what = 'guest kernel';
  const release = await provisionedKernel(cache);
  if (release) return { what, ok: true, detail: `${release}, in the cache` };
  if (!noApt) return { what, ok: true, fetched: true, detail: 'will be fetched from Debian' };
  return { what, ok: false, detail: noApt, hint: 'use Debian on x86-64 to have it fetched' };
}

async function inspectCompiler(cache: Cache, noApt: string | undefined): Promise<Finding> {
  const what = 'gcc and make';
  const why = await whyNotTheMachines();
  if (!why) return { what, ok: true, detail: "this machine's" };
  if (await provisionedToolchain(cache)) return { what, ok: true, detail: `Debian's, in the cache (${why})` };
  if (!noApt) return { what, ok: true, fetched: true, detail: `will be fetched from Debian (${why})` };
  return { what, ok: false, detail: why, hint: 'install gcc 12, make and a static C library' };
}

async function inspectCache(cache: Cache, fetches: boolean): Promise<Finding> {
  const what = 'cache';
  const hint = 'make room, or set VIRTIO_MISC_CACHE to a folder elsewhere';
  // The folder itself may not be there yet.
  for (let folder = cache.folder; ; folder = path.dirname(folder)) {
    const found = await statfs(folder).catch(() => undefined);
    if (!found) continue;
    const unusable = await whyUnusable(folder);
    if (unusable)
      return { what, ok: false, detail: unusable, hint: 'set VIRTIO_MISC_CACHE to a folder elsewhere' };
    const free = found.bavail * found.bsize;
    const detail = `${cache.folder}, ${(free / 1e9).toFixed(1)} GB free`;
    const needed = fetches ? SPACE : BUILD_SPACE;
    if (free >= needed) return { what, ok: true, detail };
    return { what, ok: false, detail: `${detail}, and ${(needed / 1e9).toFixed(1)} GB needed`, hint };
  }
}

/**
 * Looks whether what is missing can be had, before anything is fetched.
 *
 * @throws VmError `HOST` or `DOWNLOAD`, in one line that says what to do.
 */
export async function checkFirst(cache: Cache = Cache.ofUser()): Promise<void> {
  const noApt = whyNoApt();
  const fetches = [
    (process.env.VIRTIO_MISC_QEMU || findProgram(QEMU_PROGRAM)) === undefined &&
      !(await provisionedQemu(cache)),
    !(await provisionedKernel(cache)),
  ].some((missing) => missing);
  // Without apt, the search for each thing says what there is instead.
  if (!fetches || noApt) return;
  const room = await inspectCache(cache, true);
  if (!room.ok) throw new VmError('HOST', `${room.detail}: ${room.hint}`);
  const archive = await inspectArchive(noApt, true);
  if (!archive.ok)
    throw new VmError('DOWNLOAD', `Debian's archive can't be reached: ${archive.detail}: ${archive.hint}`);
}
