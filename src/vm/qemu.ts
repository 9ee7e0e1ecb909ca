import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Apt, whyNoApt } from './apt.js';
import { Cache } from './cache.js';
import { unpack } from './deb.js';
import { findProgram } from './find-program.js';
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

export const QEMU_PROGRAM = 'qemu-system-x86_64';
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

/** A Debian package and all that it needs, as an entry of the cache. */
interface Provision {
  readonly entry: string;
  readonly package: string;
}

const QEMU: Provision = { entry: 'qemu', package: 'qemu-system-x86' };
const UTILS: Provision = { entry: 'qemu-utils', package: 'qemu-utils' };
const recipeOf = (wanted: Provision): unknown => ({ wanted, SUITES, NOT_NEEDED_FILES, version: 1 });

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
  const onPath = findProgram(QEMU_PROGRAM);
  const checked = onPath ? await checkQemu([onPath]) : `there is no ${QEMU_PROGRAM} on PATH`;
  if (typeof checked !== 'string') return { ...checked, origin: 'PATH' };

  const advice = `install QEMU >= ${OLDEST.join('.')}, or name one in VIRTIO_MISC_QEMU`;
  const prefix = await provision(
    QEMU,
    { cache, progress, signal },
    (reason) => `${checked}, and ${reason}: ${advice}`,
  );
  const command = qemuCommand(prefix);
  const provisioned = await checkOnce(prefix, command);
  if (typeof provisioned === 'string')
    throw new VmError('HOST', `the QEMU fetched from Debian is of no use: ${provisioned}`);
  return { ...provisioned, origin: 'cache' };
}

/**
 * Whether the QEMU at hand has a property of a device: the one that `findQemu` finds, if it need not be fetched. `false` where there is none, or it does
 * not run.
 */
export async function qemuHas(device: string, property: string): Promise<boolean> {
  const named = process.env.VIRTIO_MISC_QEMU || findProgram(QEMU_PROGRAM);
  const prefix = named ? undefined : await provisionedQemu(Cache.ofUser()).catch(() => undefined);
  const command = named ? [named] : prefix === undefined ? undefined : qemuCommand(prefix);
  if (command === undefined) return false;
  return hasProperty({ command }, device, property);
}

/** Whether this QEMU has a property of a device. */
export async function hasProperty(
  { command }: Pick<Qemu, 'command'>,
  device: string,
  property: string,
): Promise<boolean> {
  const [program, ...args] = command as [string, ...string[]];
  const help = await run(program, [...args, '-device', `${device},help`]).catch(() => '');
  return help.split('\n').some((line) => line.trim().startsWith(`${property}=`));
}

/** What does not change is asked once: a warm start does without two more runs of QEMU. */
async function checkOnce(prefix: string, command: readonly string[]): Promise<Omit<Qemu, 'origin'> | string> {
  const note = path.join(prefix, 'checked-version');
  const version = await readFile(note, 'utf8').catch(() => '');
  if (version !== '') return { command, version };
  const checked = await checkQemu(command);
  // Where nothing can be written, it is asked again the next time.
  if (typeof checked !== 'string') await writeFile(note, checked.version).catch(() => {});
  return checked;
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
  const onPath = findProgram(name);
  if (onPath) return [onPath];
  const prefix = await provision(
    UTILS,
    { cache, progress, signal },
    (reason) => `there is no ${name} on PATH, and ${reason}: install it`,
  );
  return prefixCommand(prefix, `usr/bin/${name}`);
}

/** Whether this QEMU would do; if not, why not. */
export async function checkQemu(command: readonly string[]): Promise<Omit<Qemu, 'origin'> | string> {
  const [program, ...args] = command as [string, ...string[]];
  let said: string;
  let devices: string;
  try {
    [said, devices] = await Promise.all([
      run(program, [...args, '--version']),
      run(program, [...args, '-device', 'help']),
    ]);
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

/** Where `findQemu` would have put QEMU, when it has. */
export function provisionedQemu(cache: Cache): Promise<string | undefined> {
  return cache.find(QEMU.entry, recipeOf(QEMU));
}

/** The command that runs a provisioned QEMU. */
export function qemuCommand(prefix: string): string[] {
  const data = ['qemu', 'seabios'].flatMap((name) => ['-L', `${prefix}/usr/share/${name}`]);
  return [...prefixCommand(prefix, `usr/bin/${QEMU_PROGRAM}`), ...data];
}

async function provision(
  wanted: Provision,
  { cache, progress, signal }: Required<Omit<FindOptions, 'signal'>> & Pick<FindOptions, 'signal'>,
  refusal: (reason: string) => string,
): Promise<string> {
  const recipe = recipeOf(wanted);
  const impossible = (await cache.find(wanted.entry, recipe)) ? undefined : whyNoApt();
  if (impossible) throw new VmError('HOST', refusal(impossible));
  const fetch = (prefix: string): Promise<void> =>
    Apt.use(
      prefix,
      SUITES,
      async (apt) => {
        const closure = await apt.closure([wanted.package], SUITES.at(-1)!);
        await layOutPrefix(prefix);
        for (const deb of await apt.download(closure.filter((exact) => !NOT_NEEDED.test(exact)))) {
          await unpack(deb, prefix, { except: NOT_NEEDED_FILES, signal });
        }
      },
      signal,
    );
  return cache.entry(
    wanted.entry,
    recipe,
    (prefix) => progress.step(`Fetching ${wanted.package} from Debian`, () => fetch(prefix)),
    signal,
  );
}
