import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UsageError } from './usage-error.js';

/** This package, seen from `dist/src/cli/`. */
const PACKAGE: string = fileURLToPath(new URL('../../../', import.meta.url));
const GUEST_SOURCE: string = join(PACKAGE, 'guest/linux');

interface Template {
  /** For people. */
  readonly what: string;
  readonly folder: string;
  /** What it is called itself, and its virtio id: it is a working device too. */
  readonly name: string;
  readonly id: number;
  /** Where the id stands. */
  readonly places: RegExp;
}

/** What a device can be started from. */
export const TEMPLATES: Readonly<Record<'struct' | 'stream' | 'stock', Template>> = {
  struct: {
    what: 'requests and answers of one shape, with a Linux driver',
    folder: 'starter',
    name: 'my-adder',
    id: 60,
    places: /\b60\b/g,
  },
  stream: {
    what: "bytes both ways, for Linux's console driver",
    folder: 'stream',
    name: 'my-stream',
    id: 3,
    places: /(?<=\bid: )3\b/g,
  },
  stock: {
    what: "an option and one queue, for Linux's driver of random numbers",
    folder: 'stock',
    name: 'my-source',
    id: 4,
    places: /(?<=\bid: )4\b/g,
  },
};

export type TemplateName = keyof typeof TEMPLATES;

/** The most that a kernel module's name may have is 55. */
const MAX_NAME = 32;

/** What a starter is made for. */
export interface Starter {
  /** Of the device, its folder and its kernel module: letters a to z, digits, single hyphens and underscores. */
  readonly name: string;
  /** The virtio device id, 1 to 65535; the template's unless told. */
  readonly id?: number | undefined;
  readonly template?: TemplateName | undefined;
}

/** @throws UsageError when there can be no device and kernel module of this name. */
export function checkName(name: string): void {
  if (!/^[a-z][a-z0-9]*([-_][a-z0-9]+)*$/.test(name)) {
    throw new UsageError(
      `'${name}' is no name for a device: take letters a to z, digits, and single hyphens between them, such as my-adder`,
    );
  }
  if (name.length > MAX_NAME) {
    throw new UsageError(`'${name}' is too long for a kernel module: take up to ${MAX_NAME} characters`);
  }
  const taken = readdirSync(GUEST_SOURCE).some(
    (file) => file.endsWith('.c') && moduleName(file.slice(0, -2)) === moduleName(name),
  );
  if (taken) throw new UsageError(`'${name}' is a kernel module of virtio-misc's own: take another name`);
}

/** The kernel's own name of a module. */
export function moduleName(name: string): string {
  return name.replaceAll('-', '_');
}

/**
 * Writes a device with its unit test, its Linux driver and its README into a folder, which is made if it is not there.
 *
 * @returns the files, by name.
 * @throws UsageError when there is something in the folder already.
 */
export function writeStarter(folder: string, { name, id, template = 'struct' }: Starter): string[] {
  const from = TEMPLATES[template];
  const source = join(PACKAGE, 'templates', from.folder);
  checkName(name);
  const found = statSync(folder, { throwIfNoEntry: false });
  if (found !== undefined && !found.isDirectory()) throw new UsageError(`${folder} is there already`);
  if (found !== undefined && readdirSync(folder).length > 0) {
    throw new UsageError(`${folder} is not empty: take another name, or another folder with --dir`);
  }
  mkdirSync(folder, { recursive: true });
  const files = readdirSync(source).sort();
  const named = files.map((file) => file.replace(from.name, name));
  for (const [index, file] of files.entries()) {
    const text = readFileSync(join(source, file), 'utf8')
      .replaceAll(from.name, name)
      .replaceAll(moduleName(from.name), moduleName(name))
      .replaceAll(from.places, `${id ?? from.id}`)
      .replace('"virtio-misc": "*"', `"virtio-misc": ${JSON.stringify(packageSource(folder))}`);
    writeFileSync(join(folder, named[index]!), text);
  }
  return named;
}

/** Where npm finds this package for a project in `folder`: a version of the registry's, a tarball, or a clone. */
function packageSource(folder: string): string {
  const file = (path: string): string => `file:${relative(folder, path)}`;
  const [root] = PACKAGE.split('/node_modules/virtio-misc/');
  if (root === PACKAGE) return file(PACKAGE);
  const { name, version } = readJson(join(PACKAGE, 'package.json')) as { name: string; version: string };
  // npm's own note of where it had it from.
  const note = join(root!, 'node_modules/.package-lock.json');
  const { packages } = (existsSync(note) ? readJson(note) : {}) as {
    packages?: Record<string, { resolved?: string }>;
  };
  const resolved = packages?.[`node_modules/${name}`]?.resolved;
  if (!resolved?.startsWith('file:')) return `^${version}`;
  const tarball = resolve(root!, resolved.slice('file:'.length));
  return file(existsSync(tarball) ? tarball : PACKAGE);
}

function readJson(file: string): unknown {
  return JSON.parse(readFileSync(file, 'utf8'));
}
