import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { readAptSources } from './apt-sources.js';
import { unpack } from './deb.js';
import { findProgram } from './find-program.js';
import { run } from './run.js';
import { settleAll } from './settle.js';
import { VmError } from './vm-error.js';

/** A package as `name=version`, which apt downloads exactly. */
export type ExactPackage = string;

const DEBIAN_SUITE =
  /^(bullseye|bookworm|trixie|forky|duke|sid|testing|unstable|(old)*stable)(-updates|-backports)?$/;

/** A mirror of Debian, and how to trust it. */
export interface Archive {
  readonly uri: string;
  /** A suite that the keyrings can verify. */
  readonly suite: string;
  /** Keyring files; apt's general ones when empty. */
  readonly keyrings: readonly string[];
}

/** The settings of the machine's apt that say how its mirror is reached; nothing else of them is taken over. */
const NETWORK_SETTING =
  /^Acquire::(https?|socks5?h?|Retries|ForceIPv[46]|Check-(Date|Valid-Until)|Min-ValidTime|Max-FutureTime)\b/;

/** Parallel downloads: enough to keep a line busy, few enough to be polite to the mirror. */
const STREAMS = 3;

/** Comes with apt. */
const HELPER = '/usr/lib/apt/apt-helper';

/**
 * A private apt: sources, lists and downloads in a folder of its own, as an ordinary user, and an empty dpkg status, so that
 * what it resolves is complete whatever the machine has. The machine's own apt is only read: for the mirror, how to
 * reach it, and the keys that vouch for it.
 */
export class Apt {
  readonly #folder: string;
  readonly #signal: AbortSignal | undefined;

  private constructor(folder: string, signal: AbortSignal | undefined) {
    this.#folder = folder;
    this.#signal = signal;
  }

  /**
   * Fetches the package lists of Debian suites, the one to prefer last, and hands them to `work`.
   *
   * @param parent - where it may work; it leaves nothing behind there.
   */
  static async use<T>(
    parent: string,
    suites: readonly string[],
    work: (apt: Apt) => Promise<T>,
    signal?: AbortSignal,
    archive?: Archive,
  ): Promise<T> {
    const { uri, suite, keyrings } = archive ?? (await findArchive());
    const folder = await mkdtemp(path.join(parent, '.apt-'));
    try {
      const apt = new Apt(folder, signal);
      await apt.#configure(uri, suites, keyrings);
      const why = await apt.#whyUnreachable(uri, suites.at(-1)!);
      if (why !== undefined) throw new VmError('DOWNLOAD', `Debian's archive can't be reached: ${why}`);
      try {
        await apt.#update();
      } catch (error) {
        if (!(error instanceof VmError && /NO_PUBKEY|EXPKEYSIG|Missing key/.test(error.message))) throw error;
        // The machine's keyring is older than the suite. Its own suite, which it can verify, has the newer keyring.
        await apt.#configure(uri, [suite], keyrings);
        await apt.#update();
        await apt.#configure(uri, suites, await apt.#newestKeyring());
        await apt.#update();
      }
      return await work(apt);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  /** Packages with all that they depend on, from the preferred suite where it has them. */
  async closure(packages: readonly string[], suite: string): Promise<ExactPackage[]> {
    const plan = await this.#apt('apt-get', ['install', '--simulate', '--quiet', '-t', suite, ...packages]);
    const found = [...plan.matchAll(/^Inst (\S+) \((\S+) /gm)].map(
      ([, name, version]) => `${name}=${version}`,
    );
    if (found.length === 0)
      throw new VmError('DOWNLOAD', `apt plans to install nothing for ${packages.join(' ')}`);
    return found;
  }

  /** Downloads packages, checks them against the signed lists, and returns their files. */
  async download(packages: readonly ExactPackage[]): Promise<string[]> {
    const folder = await mkdtemp(path.join(this.#folder, 'debs-'));
    const shares = Array.from({ length: STREAMS }, (_, share) =>
      packages.filter((_, at) => at % STREAMS === share),
    );
    await settleAll(shares.filter((share) => share.length > 0).map((share) => this.#fetch(share, folder)));
    return (await readdir(folder))
      .filter((file) => file.endsWith('.deb'))
      .map((file) => path.join(folder, file));
  }

  #fetch(packages: readonly ExactPackage[], folder: string): Promise<string> {
    return this.#apt('apt-get', ['download', '--quiet', ...packages], folder);
  }

  /** Whether Debian's archive answers, as the machine's apt reaches it; if not, one line says why. Leaves nothing. */
  static async whyUnreachable(): Promise<string | undefined> {
    const folder = await mkdtemp(path.join(tmpdir(), 'virtio-misc-apt-'));
    try {
      const { uri, suite, keyrings } = await findArchive();
      const apt = new Apt(folder, undefined);
      await apt.#configure(uri, [suite], keyrings);
      return await apt.#whyUnreachable(uri, suite);
    } catch (error) {
      return (error as Error).message.split('\n')[0];
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  /** Looked at first, because `update` tries for minutes and says why in a page of lines. */
  async #whyUnreachable(uri: string, suite: string): Promise<string | undefined> {
    if (!existsSync(HELPER)) return undefined;
    const patience = ['http', 'https'].flatMap((way) => ['-o', `Acquire::${way}::Timeout=10`]);
    const file = path.join(this.#folder, 'release');
    const url = `${uri.replace(/\/$/, '')}/dists/${suite}/Release`;
    try {
      await this.#apt(HELPER, [...patience, '-o', 'Acquire::Retries=0', 'download-file', url, file]);
      return undefined;
    } catch (error) {
      if (!(error instanceof VmError && error.code === 'DOWNLOAD')) throw error;
      const said = /^E: Failed to fetch \S+ +(.+)$/m.exec(error.message)?.[1];
      return (said ?? error.message.split('\n').at(-1)!).trim();
    } finally {
      await rm(file, { force: true });
    }
  }

  async #newestKeyring(): Promise<string[]> {
    const [deb] = await this.download(['debian-archive-keyring']);
    const folder = path.join(this.#folder, 'keyring');
    await unpack(deb!, folder, { signal: this.#signal });
    const keyrings = path.join(folder, 'usr/share/keyrings');
    return (await readdir(keyrings))
      .filter((file) => /^debian-archive-keyring\.(gpg|pgp)$/.test(file))
      .map((file) => path.join(keyrings, file));
  }

  async #configure(mirror: string, suites: readonly string[], keyrings: readonly string[]): Promise<void> {
    const at = (...names: string[]): string => path.join(this.#folder, ...names);
    for (const folder of ['state/lists/partial', 'cache/archives/partial', 'empty']) {
      await mkdir(at(folder), { recursive: true });
    }
    await writeFile(at('status'), '');
    const signedBy = keyrings.length > 0 ? `signed-by=${keyrings.join(',')}` : '';
    const sources = suites.map((suite) => `deb [arch=amd64 ${signedBy}] ${mirror} ${suite} main\n`);
    await writeFile(at('sources.list'), sources.join(''));
    const machine = (await run('apt-config', ['dump'], { signal: this.#signal })).split('\n');
    const settings: Record<string, string> = {
      // This file is read before the machine's settings, and has apt ignore them: hooks and all.
      'Dir::Etc::main': at('empty/apt.conf'),
      'Dir::Etc::parts': at('empty'),
      'Dir::Etc::sourcelist': at('sources.list'),
      'Dir::Etc::sourceparts': at('empty'),
      'Dir::Etc::preferences': at('empty/preferences'),
      'Dir::Etc::preferencesparts': at('empty'),
      'Dir::State': at('state'),
      'Dir::State::status': at('status'),
      'Dir::Cache': at('cache'),
      'APT::Architecture': 'amd64',
      'APT::Install-Recommends': 'false',
      // Run by root, apt would become a user who may not write here.
      'APT::Sandbox::User': '',
      'Acquire::Languages': 'none',
    };
    const lines = Object.entries(settings).map(([name, value]) => `${name} "${value}";`);
    await writeFile(
      at('apt.conf'),
      [...machine.filter((line) => NETWORK_SETTING.test(line)), ...lines, ''].join('\n'),
    );
  }

  async #update(): Promise<void> {
    // Without this setting apt takes a mirror that it can't reach for a mere warning.
    await this.#apt('apt-get', ['update', '--quiet', '-o', 'APT::Update::Error-Mode=any']);
  }

  #apt(program: string, args: readonly string[], cwd = this.#folder): Promise<string> {
    // Its messages are looked at, so they must not be translated.
    const env = { ...process.env, APT_CONFIG: path.join(this.#folder, 'apt.conf'), LC_ALL: 'C.UTF-8' };
    return run(program, args, { cwd, env, signal: this.#signal, code: 'DOWNLOAD' });
  }
}

/** Whether packages can be fetched and unpacked here; if not, one line says why. */
export function whyNoApt(): string | undefined {
  if (process.arch !== 'x64')
    return `the guest and its QEMU are fetched for x86-64 hosts only, and this one is ${process.arch}`;
  const missing = ['apt-get', 'dpkg-deb', 'tar'].filter((program) => !findProgram(program));
  return missing.length > 0 ? `this machine has no ${missing.join(', ')}` : undefined;
}

/** The Debian archive as the machine's own apt knows it. */
export async function findArchive(): Promise<Archive> {
  const sources = (await readAptSources()).filter(
    ({ uri, suite, components }) =>
      /^https?:/.test(uri) && DEBIAN_SUITE.test(suite) && components.includes('main'),
  );
  // The plain suite, not its updates: that one has every package.
  const source = sources.find(({ suite }) => !suite.includes('-')) ?? sources[0];
  const uri = process.env.VIRTIO_MISC_DEBIAN_MIRROR || source?.uri;
  if (!uri) {
    throw new VmError(
      'HOST',
      "this machine's apt has no Debian mirror: set VIRTIO_MISC_DEBIAN_MIRROR to the address of one",
    );
  }
  const standard = ['gpg', 'pgp'].map((type) => `/usr/share/keyrings/debian-archive-keyring.${type}`);
  const keyrings = [...new Set([...(source?.keyrings ?? []), ...standard])].filter((file) =>
    existsSync(file),
  );
  if (!source && keyrings.length === 0) {
    throw new VmError(
      'HOST',
      'the keys of the Debian archive are not on this machine: install debian-archive-keyring',
    );
  }
  return { uri, suite: source?.suite ?? 'bookworm', keyrings };
}
