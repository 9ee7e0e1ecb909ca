import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const COMPILER = join(ROOT, 'node_modules/typescript/bin/tsc');

/** A piece of code on a page: its language, and what it is called there. */
export interface Code {
  readonly language: string;
  readonly file: string;
  readonly code: string;
}

/** Somebody who does all that a page says, in a folder of his own. */
export class Reader {
  readonly folder: string = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  readonly code: readonly Code[];

  /** @param page - its name in `docs/`. The code that is named on it is written into the folder. */
  constructor(page: string) {
    const text = readFileSync(join(ROOT, 'docs', page), 'utf8');
    this.code = [...text.matchAll(/^```(\w+) ?(.*)\n([\s\S]*?)^```$/gm)].map(([, language, file, code]) => ({
      language: language!,
      file: file!,
      code: code!,
    }));
    writeFileSync(join(this.folder, 'package.json'), '{ "type": "module" }');
    mkdirSync(join(this.folder, 'node_modules'));
    symlinkSync(ROOT, join(this.folder, 'node_modules/virtio-misc'));
    symlinkSync(join(ROOT, 'node_modules/@types'), join(this.folder, 'node_modules/@types'));
    for (const { language, file, code } of this.code)
      if (language === 'ts') writeFileSync(join(this.folder, file), code);
    after(() => rmSync(this.folder, { recursive: true, force: true }));
  }

  /** Runs Node in the folder, to its good end. */
  run(...args: string[]): string {
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    const { status, stdout, stderr } = spawnSync(process.execPath, args, {
      cwd: this.folder,
      encoding: 'utf8',
      env,
      timeout: 120_000,
    });
    assert.equal(status, 0, stdout + stderr);
    return stdout;
  }

  /** Declares tests: that the TypeScript of the page is right in its types, and does what the page says. */
  testCode(): void {
    test('the code of the page is right in its types', () => this.#checkTypes());
    for (const [index, { language, file, code }] of this.code.entries()) {
      if (language !== 'ts') continue;
      test(`${file} does what the page says`, () => {
        // Node 20 and 22 do not know the syntax of `await using`, which TypeScript makes older code of.
        if (code.includes('await using')) {
          this.run(COMPILER, '-p', '.', '--noEmit', 'false', '--outDir', 'built');
          const said = this.run(join('built', file.replace(/ts$/, 'js')));
          assert.deepEqual(said.trimEnd(), this.code[index + 1]!.code.trimEnd());
          return;
        }
        const tests = code.match(/^test\(/gm)?.length ?? 0;
        const stdout = this.run('--import', 'virtio-misc/register', ...(tests > 0 ? ['--test'] : []), file);
        if (tests > 0) assert.match(stdout, new RegExp(`^. pass ${tests}\n. fail 0$`, 'mu'));
      });
    }
  }

  #checkTypes(): void {
    const settings = {
      compilerOptions: {
        module: 'nodenext',
        target: 'es2023',
        lib: ['es2023', 'esnext.disposable'],
        strict: true,
        noUncheckedIndexedAccess: true,
        skipLibCheck: true,
        noEmit: true,
        types: ['node'],
      },
      include: ['*.ts'],
    };
    writeFileSync(join(this.folder, 'tsconfig.json'), JSON.stringify(settings));
    this.run(COMPILER, '-p', '.');
  }
}
