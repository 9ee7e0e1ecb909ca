import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { constants, setPriority, tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** What a look at a file's types found. */
export interface TypeReport {
  /** `device.ts:12:3: Type 'string' is not assignable to type 'number'. (TS2322)`. */
  readonly message: string;
  /** What the compiler adds to that, a line each. */
  readonly more: readonly string[];
  readonly path: string;
  readonly line: number;
  readonly column: number;
}

/** What a check takes of memory, in characters of its output. */
const OUTPUT_MOST = 1 << 20;

/**
 * Checks the types of a device's file in a process of its own, with the TypeScript that is installed where the file is, and the settings
 * of its tsconfig.json. Without either there is nothing to do, or the usual settings. It never waits for it, and gives it what
 * processor time others leave.
 */
export class TypeCheck {
  readonly #path: string;
  readonly #tsc: string | undefined;
  readonly #done: (reports: readonly TypeReport[]) => void;
  #child: ChildProcess | undefined;

  /** @param done - hears of each check that came to its end: what was wrong, or nothing. */
  constructor(path: string, done: (reports: readonly TypeReport[]) => void) {
    this.#path = path;
    this.#tsc = /\.m?ts$/.test(path) ? findCompiler(path) : undefined;
    this.#done = done;
  }

  /** Checks the file as it is now; one that is under way ends. */
  start(): void {
    this.close();
    if (this.#tsc === undefined) return;
    const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-types-'));
    const project = join(folder, 'tsconfig.json');
    writeFileSync(project, JSON.stringify(settings(this.#path)));
    // A group of its own: the compiler may start another process.
    const child = spawn(process.execPath, [this.#tsc, '-p', project, '--pretty', 'false'], {
      cwd: dirname(this.#path),
      stdio: ['ignore', 'pipe', 'ignore'],
      detached: true,
    });
    this.#child = child;
    let output = '';
    child.stdout.on('data', (more: Buffer) => {
      if (output.length < OUTPUT_MOST) output += more.toString('utf8');
    });
    child.on('spawn', () => yieldTo(child));
    child.on('error', () => {});
    child.on('close', (code) => {
      rmSync(folder, { recursive: true, force: true });
      if (this.#child !== child) return;
      this.#child = undefined;
      if (code !== null) this.#done(parse(output, dirname(this.#path)));
    });
    child.unref();
    (child.stdout as unknown as { unref(): void }).unref();
  }

  /** Ends a check that is under way, of which nothing is heard. */
  close(): void {
    const child = this.#child;
    this.#child = undefined;
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch {
      // It has just ended.
    }
  }
}

/** The compiler's program, as it is installed where the file is. */
function findCompiler(path: string): string | undefined {
  try {
    const manifest = createRequire(path).resolve('typescript/package.json');
    const { bin } = JSON.parse(readFileSync(manifest, 'utf8')) as { bin?: { tsc?: string } };
    return bin?.tsc === undefined ? undefined : join(dirname(manifest), bin.tsc);
  } catch {
    return undefined;
  }
}

/** The project's own settings, for this one file and what it imports. */
function settings(path: string): object {
  const found = above(path, 'tsconfig.json')[0];
  const roots = above(path, 'node_modules/@types');
  const usual = {
    module: 'nodenext',
    target: 'es2023',
    strict: true,
    ...(roots.some((root) => existsSync(join(root, 'node'))) && { types: ['node'] }),
  };
  return {
    ...(found !== undefined && { extends: found }),
    compilerOptions: {
      ...(found === undefined && usual),
      noEmit: true,
      incremental: false,
      composite: false,
      tsBuildInfoFile: null,
      rootDir: null,
      outDir: null,
      skipLibCheck: true,
      allowImportingTsExtensions: true,
      typeRoots: roots,
      ...(!resolves(path) && { paths: { 'virtio-misc': [OWN_TYPES] } }),
    },
    files: [path],
    include: [],
    references: [],
  };
}

const OWN_TYPES = fileURLToPath(new URL('../index.d.ts', import.meta.url));

/** Whether the file's import of this package is found there; if not, it is this one all the same. */
function resolves(path: string): boolean {
  try {
    createRequire(path).resolve('virtio-misc');
    return true;
  } catch {
    return false;
  }
}

/** What there is of that name in the folders above a file, the nearest first. */
function above(path: string, name: string): string[] {
  const found: string[] = [];
  for (let folder = dirname(path); ; folder = dirname(folder)) {
    const here = join(folder, name);
    if (existsSync(here)) found.push(here);
    if (folder === dirname(folder)) return found;
  }
}

function parse(output: string, folder: string): TypeReport[] {
  const reports: TypeReport[] = [];
  let more: string[] | undefined;
  for (const text of output.split('\n')) {
    if (/^\s+\S/.test(text)) more?.push(text.trim());
    const match = /^(.+?)\((\d+),(\d+)\): error (TS\d+): (.*)$/.exec(text);
    if (match === null) continue;
    more = undefined;
    const [, file, line, column, code, message] = match as unknown as [
      string,
      string,
      string,
      string,
      string,
      string,
    ];
    const path = resolve(folder, file);
    if (path.includes('/node_modules/')) continue;
    more = [];
    reports.push({
      more,
      message: `${path}:${line}:${column}: ${message} (${code})`,
      path,
      line: Number(line),
      column: Number(column),
    });
  }
  return reports;
}

/** Everybody else comes first. */
function yieldTo({ pid }: ChildProcess): void {
  try {
    setPriority(pid!, constants.priority.PRIORITY_LOW);
  } catch {
    // It has just ended.
  }
}
