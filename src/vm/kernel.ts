import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Apt, whyNoApt } from './apt.js';
import type { Cache } from './cache.js';
import { unpack } from './deb.js';
import { layOutPrefix, wrapPrograms } from './prefix.js';
import type { Progress } from './progress.js';
import { settleAll } from './settle.js';
import { VmError } from './vm-error.js';
import { extractVmlinux } from './vmlinux.js';

/** A stock Debian 12 kernel, and what it takes to build modules for it. */
export interface Kernel {
  /** Such as `6.1.0-50-cloud-amd64`: what `uname -r` says in the guest. */
  readonly release: string;
  /** The ELF kernel, with a PVH entry. */
  readonly vmlinux: string;
  /** Folder of the stock modules that a guest of ours can use. */
  readonly modules: string;
  /** The folder to give to `make -C`. */
  readonly headers: string;
  /** A static busybox. */
  readonly busybox: string;
}

/** Debian 12. Its kernel for virtual machines is the same source as its general one, a third of the size, and boots faster. */
export const GUEST_SUITE = 'bookworm';
const PACKAGES = ['linux-image-cloud-amd64', 'linux-headers-cloud-amd64', 'busybox-static', 'libelf1'];
/** Of all that the kernel package wants installed, the part that is used here; the libraries run kbuild's own programs. */
const NEEDED = /^(linux-(image|headers|kbuild)-[\d.]+|busybox-static|libelf1|zlib1g|libc6)\b/;

/** Stock modules worth carrying: those that make a virtio device useful, and what they need. */
const MODULES = [
  'drivers/virtio/*',
  'drivers/block/virtio_blk.ko',
  'drivers/char/virtio_console.ko',
  'drivers/char/hw_random/*',
  'drivers/input/evdev.ko',
  'drivers/net/virtio_net.ko',
  'drivers/net/net_failover.ko',
  'net/core/failover.ko',
  'net/vmw_vsock/*virtio*',
  'net/vmw_vsock/vsock.ko',
];

const RECIPE = { GUEST_SUITE, PACKAGES, MODULES, version: 1 };

export async function findKernel(cache: Cache, progress: Progress, signal?: AbortSignal): Promise<Kernel> {
  const ready = await cache.find('linux', RECIPE);
  if (!ready) {
    const impossible = whyNoApt();
    if (impossible)
      throw new VmError('HOST', `the guest's kernel can't be fetched: ${impossible}; run this on Debian`);
  }
  const folder = await cache.entry(
    'linux',
    RECIPE,
    (draft) => progress.step('Fetching the Debian 12 kernel', () => provision(draft, signal)),
    signal,
  );
  const release = await readFile(path.join(folder, 'release'), 'utf8');
  return {
    release,
    vmlinux: path.join(folder, 'vmlinux'),
    modules: path.join(folder, 'usr/lib/modules', release, 'kernel'),
    headers: path.join(folder, 'usr/src', `linux-headers-${release}`),
    busybox: path.join(folder, 'usr/bin/busybox'),
  };
}

/** The kernel that is in the cache, by its release. */
export async function provisionedKernel(cache: Cache): Promise<string | undefined> {
  const folder = await cache.find('linux', RECIPE);
  return folder && readFile(path.join(folder, 'release'), 'utf8');
}

async function provision(prefix: string, signal: AbortSignal | undefined): Promise<void> {
  await layOutPrefix(prefix);
  await Apt.use(
    prefix,
    [GUEST_SUITE],
    async (apt) => {
      const closure = await apt.closure(PACKAGES, GUEST_SUITE);
      const debs = await apt.download(closure.filter((exact) => NEEDED.test(exact)));
      await settleAll(debs.map((deb) => unpack(deb, prefix, { ...selection(path.basename(deb)), signal })));
    },
    signal,
  );
  const images = (await readdir(path.join(prefix, 'boot'))).filter((file) => file.startsWith('vmlinuz-'));
  const [image] = images;
  if (!image || images.length > 1)
    throw new VmError('DOWNLOAD', `Debian's kernel package has the kernels [${images}]`);
  const release = image.slice('vmlinuz-'.length);
  await writeFile(path.join(prefix, 'release'), release);
  await writeFile(
    path.join(prefix, 'vmlinux'),
    extractVmlinux(await readFile(path.join(prefix, 'boot', image))),
  );

  const makefile = path.join(prefix, 'usr/src', `linux-headers-${release}`, 'Makefile');
  const text = await readFile(makefile, 'utf8');
  // The one absolute path in it, to the headers that all flavours share.
  const relative = text.replaceAll('/usr/src/', '$(dir $(realpath $(lastword $(MAKEFILE_LIST))))../');
  await writeFile(makefile, relative);
  const [kbuild] = (await readdir(path.join(prefix, 'usr/lib'))).filter((name) =>
    name.startsWith('linux-kbuild-'),
  );
  await wrapPrograms(prefix, path.join(prefix, 'usr/lib', kbuild!));
}

function selection(deb: string): { only?: string[]; except?: string[] } {
  if (deb.startsWith('linux-image-')) {
    return { only: ['./boot/vmlinuz-*', ...MODULES.map((module) => `./lib/modules/*/kernel/${module}`)] };
  }
  // Other architectures' headers are three quarters of them all.
  if (deb.startsWith('linux-headers-'))
    return { except: ['./usr/src/*/arch/[a-wyz]*', './usr/share/*', './lib/*'] };
  return { except: ['./usr/share/*', './etc/*', './usr/lib/*/gconv/*'] };
}
