import { readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Apt, whyNoApt } from './apt.js';
import type { Cache } from './cache.js';
import { type UnpackOptions, unpack } from './deb.js';
import type { Kernel } from './kernel.js';
import { layOutPrefix, wrapPrograms } from './prefix.js';
import { settleAll } from './settle.js';
import { type UnpackContext, unpackBytes, unpackFiles } from './unpackers.js';
import { VmError } from './vm-error.js';
import { extractVmlinux } from './vmlinux.js';

/** Debian 12. Its kernel for virtual machines is the same source as its general one, a third of the size, and boots faster. */
export const GUEST_SUITE = 'bookworm';

interface Stock {
  /** Suite of Debian. */
  readonly suite: string;
  /** For people. */
  readonly debian: string;
  /** Ends the names of its packages. */
  readonly flavour: 'cloud-amd64' | 'amd64';
}

const ofSuite = <Name extends string>(name: Name, suite: string, debian: string): Record<string, Stock> => ({
  [name]: { suite, debian, flavour: 'cloud-amd64' },
  [`${name}-standard`]: { suite, debian, flavour: 'amd64' },
});

/** Debian's kernels, by the names that they have here. `newest` is what Debian's unstable suite has. */
export const STOCK_KERNELS: Readonly<Record<string, Stock>> = {
  ...ofSuite('6.1', GUEST_SUITE, 'Debian 12'),
  ...ofSuite('6.12', 'trixie', 'Debian 13'),
  ...ofSuite('newest', 'sid', 'Debian unstable'),
};

export const DEFAULT_KERNEL = '6.1';

const packages = ({ flavour }: Stock): string[] => [
  `linux-image-${flavour}`,
  `linux-headers-${flavour}`,
  'busybox-static',
];

/** Of all that the kernel package wants installed, the part that is used here; the libraries run kbuild's own programs. */
const NEEDED =
  /^(linux-(image|binary|modules|headers|kbuild)-\d[^=]*|busybox-static|libelf1(t64)?|zlib1g|libzstd1|libbz2-1\.0|libxxhash0|libdw1(t64)?|liblzma5|libc6)=/;

/** Stock modules worth carrying: those that make a virtio device useful, and what they need. */
export const MODULES: readonly string[] = [
  'drivers/virtio/*',
  'drivers/block/virtio_blk.ko*',
  'drivers/char/virtio_console.ko*',
  'drivers/char/hw_random/*',
  'drivers/gpio/gpio-virtio.ko*',
  'drivers/input/evdev.ko*',
  'drivers/net/virtio_net.ko*',
  'drivers/net/net_failover.ko*',
  'fs/9p/*',
  'fs/fscache/*',
  'fs/netfs/*',
  'net/9p/9pnet.ko*',
  'net/9p/9pnet_virtio.ko*',
  'net/core/failover.ko*',
  'net/vmw_vsock/*virtio*',
  'net/vmw_vsock/vsock.ko*',
];

const recipe = (stock: Stock): unknown => ({ ...stock, MODULES, version: 2 });

/** @param name - of `STOCK_KERNELS`. */
export async function findStockKernel(name: string, context: UnpackContext): Promise<Kernel> {
  const { cache, progress, signal } = context;
  const stock = STOCK_KERNELS[name]!;
  const ready = await cache.find('linux', recipe(stock));
  if (!ready) {
    const impossible = whyNoApt();
    if (impossible)
      throw new VmError('HOST', `the guest's kernel can't be fetched: ${impossible}; run this on Debian`);
  }
  const what = `Fetching the ${stock.debian} kernel${stock.flavour === 'amd64' ? ', the standard one' : ''}`;
  const folder = await cache.entry(
    'linux',
    recipe(stock),
    (draft) => progress.step(what, () => provision(draft, stock, context)),
    signal,
  );
  const release = await readFile(path.join(folder, 'release'), 'utf8');
  return {
    release,
    id: path.basename(folder),
    vmlinux: path.join(folder, 'vmlinux'),
    modules: path.join(folder, 'usr/lib/modules', release, 'kernel'),
    allModules: () => fetchModules(stock, release, path.basename(folder), context),
    headers: path.join(folder, 'usr/src', `linux-headers-${release}`),
    busybox: path.join(folder, 'usr/bin/busybox'),
  };
}

/** The usual kernel that is in the cache, by its release. */
export async function provisionedKernel(cache: Cache): Promise<string | undefined> {
  const folder = await cache.find('linux', recipe(STOCK_KERNELS[DEFAULT_KERNEL]!));
  return folder && readFile(path.join(folder, 'release'), 'utf8');
}

async function provision(prefix: string, stock: Stock, context: UnpackContext): Promise<void> {
  const { signal } = context;
  await layOutPrefix(prefix);
  await Apt.use(
    prefix,
    [stock.suite],
    async (apt) => {
      const closure = await apt.closure(packages(stock), stock.suite);
      const debs = await apt.download(closure.filter((exact) => NEEDED.test(exact)));
      await settleAll(debs.map((deb) => unpack(deb, prefix, { ...selection(path.basename(deb)), signal })));
    },
    signal,
  );
  const { release, image } = await findImage(prefix);
  await writeFile(path.join(prefix, 'release'), release);
  const vmlinux = await extractVmlinux(await readFile(image), (packing, packed) =>
    unpackBytes(packing, packed, context),
  );
  await writeFile(path.join(prefix, 'vmlinux'), vmlinux);
  await unpackModules(path.join(prefix, 'usr/lib/modules', release), context);

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

/** All that the kernel's package has, of which a guest usually needs a hundredth. */
async function fetchModules(
  stock: Stock,
  release: string,
  kernel: string,
  context: UnpackContext,
): Promise<string> {
  const { cache, progress, signal } = context;
  const fetch = (draft: string): Promise<void> =>
    Apt.use(
      draft,
      [stock.suite],
      async (apt) => {
        const closure = await apt.closure(packages(stock), stock.suite);
        const debs = await apt.download(
          closure.filter((exact) => /^linux-(image|binary|modules)-\d/.test(exact)),
        );
        // The older packages have them in /lib.
        const anyOf = ['./lib/modules/*/kernel/*', './usr/lib/modules/*/kernel/*'];
        await layOutPrefix(draft);
        for (const deb of debs) await unpack(deb, draft, { anyOf, signal });
        const found = await readdir(path.join(draft, 'usr/lib/modules'));
        if (!found.includes(release))
          throw new VmError(
            'DOWNLOAD',
            `Debian has Linux ${found} now and the guest's is ${release}: remove ${path.join(cache.folder, kernel)} to have the newer one`,
          );
        await unpackModules(path.join(draft, 'usr/lib/modules', release), context);
      },
      signal,
    );
  const folder = await cache.entry(
    'drivers',
    { kernel, version: 1 },
    (draft) => progress.step(`Fetching all modules of Linux ${release}`, () => fetch(draft)),
    signal,
  );
  return path.join(folder, 'usr/lib/modules', release, 'kernel');
}

/** Where the packages have put the kernel: newer ones keep it beside its modules. */
async function findImage(prefix: string): Promise<{ release: string; image: string }> {
  const found: { release: string; image: string }[] = [];
  for (const file of await readdir(path.join(prefix, 'boot')).catch(() => [])) {
    const release = /^vmlinuz-(.+)/.exec(file)?.[1];
    if (release) found.push({ release, image: path.join(prefix, 'boot', file) });
  }
  const modules = path.join(prefix, 'usr/lib/modules');
  for (const release of await readdir(modules).catch(() => [])) {
    const files = await readdir(path.join(modules, release));
    if (files.includes('vmlinuz')) found.push({ release, image: path.join(modules, release, 'vmlinuz') });
  }
  const [image] = found;
  if (!image || found.length > 1) {
    const releases = found.map(({ release }) => release);
    throw new VmError('DOWNLOAD', `Debian's kernel package has the kernels [${releases}]`);
  }
  return image;
}

/** Unpacks the modules below a folder, in place. */
export async function unpackModules(folder: string, context: UnpackContext): Promise<void> {
  const files = await readdir(folder, { recursive: true }).catch(() => []);
  for (const [packing, suffix] of [
    ['xz', '.ko.xz'],
    ['zstd', '.ko.zst'],
  ] as const) {
    const packed = files.filter((file) => file.endsWith(suffix)).map((file) => path.join(folder, file));
    await unpackFiles(packing, packed, context);
  }
}

function selection(deb: string): UnpackOptions {
  if (/^linux-(image|binary|modules)-/.test(deb)) {
    return {
      anyOf: [
        './boot/vmlinuz-*',
        './usr/lib/modules/*/vmlinuz',
        ...MODULES.flatMap((module) => [
          `./lib/modules/*/kernel/${module}`,
          `./usr/lib/modules/*/kernel/${module}`,
        ]),
      ],
    };
  }
  // Other architectures' headers are three quarters of them all.
  if (deb.startsWith('linux-headers-'))
    return { except: ['./usr/src/*/arch/[a-wyz]*', './usr/share/*', './lib/*', './usr/lib/modules/*'] };
  return { except: ['./usr/share/*', './etc/*', './usr/lib/*/gconv/*'] };
}
