import { existsSync } from 'node:fs';
import path from 'node:path';
import { Apt, whyNoApt } from './apt.js';
import { Cache } from './cache.js';
import { unpack } from './deb.js';
import { layOutPrefix, prefixCommand } from './prefix.js';
import { type Progress, silent } from './progress.js';
import { run } from './run.js';
import { VmError } from './vm-error.js';

/** A QEMU that can run our devices. */
export interface Qemu {
  /** The program and its first arguments; the machine's go behind them. */
  readonly command: readonly string[];
  /** Such as `11.1.3`. */
  readonly version: string;
  readonly origin: 'VIRTIO_MISC_QEMU' | 'PATH' | 'cache';
}

export interface FindOptions {
  readonly cache?: Cache;
  readonly progress?: Progress;
  readonly signal?: AbortSignal | undefined;
}

const PROGRAM = 'qemu-system-x86_64';
/** The first release whose generic vhost-user device and vfio-user client do what we need. */
const OLDEST = [11, 1];
const DEVICES = ['vhost-user-test-device-pci', 'vfio-user-pci'];

/** The suites that have it: Debian 13 for the libraries, its backports for QEMU. */
const SUITES = ['trixie', 'trixie-backports'];
/** Pulled in by maintainer scripts or for other machines; no library of QEMU's is in them. */
const NOT_NEEDED =
  /^(adduser|passwd|base-passwd|debconf|login\.defs|gcc-.*-base|lib(pam-modules(-bin)?|pam-runtime|audit-common|semanage-common|debconfclient0|sasl2-modules-db)|openssl-provider-legacy)=/;
const NOT_NEEDED_FILES = [
  './etc/*',
  './var/*',
  './usr/share/doc/*',
  './usr/share/man/*',
  './usr/share/locale/*',
  './usr/share/lintian/*',
  './usr/share/icons/*',
  './usr/share/qemu/*.lid',
  './usr/share/qemu/hppa-*',
  './usr/share/qemu/openbios-*',
  './usr/share/qemu/u-boot*',
  './usr/share/qemu/s390*',
  './usr/share/qemu/trace-events-all',
  './usr/bin/qemu-system-i386',
  './usr/bin/qemu-system-x86_64-microvm',
  './usr/lib/*/gconv/*',
];

/**
 * Finds a QEMU >= 11.1 with the devices that we attach to: the one that `VIRTIO_MISC_QEMU` names, one on PATH, or one fetched
 * from Debian into the cache, in this order.
 *
 * @throws VmError `HOST` when there is none and none can be fetched; the message says what to do.
 */
export async function findQemu({
  cache = Cache.ofUser(),
  progress = silent,
  signal,
}: FindOptions = {}): Promise<Qemu> {
  const named = process.env.VIRTIO_MISC_QEMU;
  if (named) {
    const checked = await checkQemu([named]);
    if (typeof checked === 'string') throw new VmError('HOST', `VIRTIO_MISC_QEMU: ${checked}`);
    return { ...checked, origin: 'VIRTIO_MISC_QEMU' };
  }
  const onPath = findOnPath(PROGRAM);
  const checked = onPath ? await checkQemu([onPath]) : `there is no ${PROGRAM} on PATH`;
  if (typeof checked !== 'string') return { ...checked, origin: 'PATH' };

  const impossible = whyNoApt();
  if (impossible) {
    throw new VmError(
      'HOST',
      `${checked}, and ${impossible}: install QEMU >= ${OLDEST.join('.')}, or name one in VIRTIO_MISC_QEMU`,
    );
  }
  const prefix = await provision('qemu', ['qemu-system-x86'], { cache, progress, signal });
  const command = [
    ...prefixCommand(prefix, `usr/bin/${PROGRAM}`),
    '-L',
    `${prefix}/usr/share/qemu`,
    '-L',
    `${prefix}/usr/share/seabios`,
  ];
  const provisioned = await checkQemu(command);
  if (typeof provisioned === 'string')
    throw new VmError('HOST', `the QEMU fetched from Debian is of no use: ${provisioned}`);
  return { ...provisioned, origin: 'cache' };
}

/**
 * Finds another of QEMU's programs, such as `qemu-storage-daemon`: on PATH, or fetched from Debian as `findQemu` does.
 *
 * @returns the command that runs it.
 */
export async function findTool(
  name: 'qemu-storage-daemon' | 'qemu-img',
  { cache = Cache.ofUser(), progress = silent, signal }: FindOptions = {},
): Promise<string[]> {
  const onPath = findOnPath(name);
  if (onPath) return [onPath];
  const impossible = whyNoApt();
  if (impossible) throw new VmError('HOST', `there is no ${name} on PATH, and ${impossible}: install it`);
  return prefixCommand(
    await provision('qemu-utils', ['qemu-utils'], { cache, progress, signal }),
    `usr/bin/${name}`,
  );
}

/** Whether this QEMU would do; if not, why not. */
export async function checkQemu(command: readonly string[]): Promise<Omit<Qemu, 'origin'> | string> {
  const [program, ...args] = command as [string, ...string[]];
  let said: string;
  let devices: string;
  try {
    said = await run(program, [...args, '--version']);
    devices = await run(program, [...args, '-device', 'help']);
  } catch (error) {
    return `${program} does not run: ${error instanceof Error ? error.message : error}`;
  }
  const [version = '', major = '', minor = ''] = /(\d+)\.(\d+)(?:\.\d+)*/.exec(said) ?? [];
  const [wantedMajor, wantedMinor] = OLDEST as [number, number];
  if (!(Number(major) > wantedMajor || (Number(major) === wantedMajor && Number(minor) >= wantedMinor))) {
    return `${program} is QEMU ${version || 'of an unknown version'}, older than ${OLDEST.join('.')}`;
  }
  const missing = DEVICES.filter((device) => !devices.includes(`"${device}"`));
  if (missing.length > 0) return `${program} (QEMU ${version}) was built without ${missing.join(' and ')}`;
  return { command, version };
}

const recipeOf = (packages: readonly string[]): unknown => ({
  packages,
  SUITES,
  NOT_NEEDED_FILES,
  version: 1,
});

/** Where `findQemu` would have put QEMU, when it has. */
export function provisionedQemu(cache: Cache): Promise<string | undefined> {
  return cache.find('qemu', recipeOf(['qemu-system-x86']));
}

function provision(
  name: string,
  packages: readonly string[],
  options: Required<FindOptions>,
): Promise<string>;
function provision(
  name: string,
  packages: readonly string[],
  { cache, progress, signal }: { cache: Cache; progress: Progress; signal: AbortSignal | undefined },
): Promise<string> {
  const build = (prefix: string): Promise<void> =>
    Apt.use(
      cache,
      SUITES,
      async (apt) => {
        const closure = await apt.closure(packages, SUITES.at(-1)!);
        await layOutPrefix(prefix);
        for (const deb of await apt.download(closure.filter((exact) => !NOT_NEEDED.test(exact)))) {
          await unpack(deb, prefix, { except: NOT_NEEDED_FILES, signal });
        }
      },
      signal,
    );
  return cache.entry(
    name,
    recipeOf(packages),
    (prefix) => progress.step(`Fetching ${packages.join(', ')} from Debian`, () => build(prefix)),
    signal,
  );
}

function findOnPath(program: string): string | undefined {
  const folders = (process.env.PATH ?? '').split(path.delimiter).filter((folder) => folder !== '');
  return folders.map((folder) => path.join(folder, program)).find((file) => existsSync(file));
}
