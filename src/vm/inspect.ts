import { statfs } from 'node:fs/promises';
import path from 'node:path';
import { whyNoApt } from './apt.js';
import { Cache } from './cache.js';
import { findProgram } from './find-program.js';
import { checkQemu, provisionedQemu, QEMU_PROGRAM, qemuCommand } from './qemu.js';
import { provisionedKernel } from './stock-kernel.js';
import { whyNotTheMachines } from './toolchain.js';

/** One thing that a guest needs. */
export interface Finding {
  readonly what: string;
  /** Whether a guest can be had as far as this thing goes; what can still be fetched is fine. */
  readonly ok: boolean;
  readonly detail: string;
  /** What to do about it. */
  readonly hint?: string;
}

/** Bytes that everything needs in the cache, with room to build. */
const SPACE = 600e6;

/** Looks at what `findQemu` and `prepareGuest` would find, without fetching or changing anything. */
export async function inspect(cache: Cache = Cache.ofUser()): Promise<Finding[]> {
  const noApt = whyNoApt();
  return [
    { what: 'node', ok: true, detail: process.versions.node },
    await inspectQemu(cache, noApt),
    noApt
      ? { what: 'apt', ok: false, detail: noApt, hint: 'use Debian on x86-64 to have the guest fetched' }
      : { what: 'apt', ok: true, detail: 'packages can be fetched from Debian, as an ordinary user' },
    await inspectKernel(cache, noApt),
    await inspectCompiler(noApt),
    await inspectSpace(cache),
  ];
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
  if (!noApt) return { what, ok: true, detail: `will be fetched from Debian (${checked})` };
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
  if (!noApt) return { what, ok: true, detail: 'will be fetched from Debian' };
  return { what, ok: false, detail: noApt, hint: 'use Debian on x86-64 to have it fetched' };
}

async function inspectCompiler(noApt: string | undefined): Promise<Finding> {
  const what = 'gcc and make';
  const why = await whyNotTheMachines();
  if (!why) return { what, ok: true, detail: "this machine's" };
  if (!noApt) return { what, ok: true, detail: `Debian's, in the cache (${why})` };
  return { what, ok: false, detail: why, hint: 'install gcc 12, make and a static C library' };
}

async function inspectSpace(cache: Cache): Promise<Finding> {
  const what = 'cache';
  // The folder itself may not be there yet.
  for (let folder = cache.folder; ; folder = path.dirname(folder)) {
    const found = await statfs(folder).catch(() => undefined);
    if (!found) continue;
    const free = found.bavail * found.bsize;
    const detail = `${cache.folder}, ${(free / 1e9).toFixed(1)} GB free`;
    if (free > SPACE) return { what, ok: true, detail };
    return { what, ok: false, detail, hint: 'make room, or set VIRTIO_MISC_CACHE to a folder elsewhere' };
  }
}
