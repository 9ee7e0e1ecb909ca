import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import '../accel.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const GUIDE = join(ROOT, 'docs/first-device.md');

/** A fenced block of the guide. */
interface Block {
  readonly language: string;
  /** What follows the language: a file, or a terminal. */
  readonly info: string;
  readonly lines: readonly string[];
}

function blocks(): Block[] {
  const text = readFileSync(GUIDE, 'utf8');
  return [...text.matchAll(/^```(\w+) ?(.*)\n([\s\S]*?)^```$/gm)].map(([, language, info, body]) => ({
    language: language!,
    info: info!,
    lines: body!.trimEnd().split('\n'),
  }));
}

let home: string;
const children: ChildProcess[] = [];
before(() => {
  home = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
});
after(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(home, { recursive: true, force: true });
});

/** A reader's terminal. What was fetched for guests is in the tester's own cache. */
function terminal(folder: string, commands: string): ChildProcess {
  const { NODE_TEST_CONTEXT: _, ...inherited } = process.env;
  const cache = inherited.XDG_CACHE_HOME ?? join(homedir(), '.cache');
  const env = { ...inherited, HOME: home, XDG_CACHE_HOME: cache, npm_config_ignore_scripts: 'true' };
  const child = spawn('bash', ['-ec', `exec 2>&1\n${commands}`], {
    cwd: folder,
    env,
    stdio: ['ignore', 'pipe', 2],
  });
  children.push(child);
  return child;
}

/** What a program says, line by line, and how it ended. */
class Output {
  readonly lines: string[] = [];
  readonly ended: Promise<number>;
  #changed: () => void = () => {};
  #over = false;

  constructor(child: ChildProcess) {
    createInterface({ input: child.stdout! }).on('line', (line) => {
      this.lines.push(line);
      this.#changed();
    });
    this.ended = once(child, 'close').then(([code]) => {
      this.#over = true;
      this.#changed();
      return code as number;
    });
  }

  /** Waits for lines in this order, with others between them. A number of milliseconds may be any. */
  async says(expected: readonly string[], from = 0): Promise<number> {
    let at = from;
    for (const line of expected) {
      const escaped = line.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replace(/\d+ ms/, '\\d+ ms');
      const pattern = new RegExp(escaped);
      while (true) {
        while (at < this.lines.length && !pattern.test(this.lines[at]!)) at += 1;
        if (at < this.lines.length) break;
        assert.ok(!this.#over, `no '${line}' in:\n${this.lines.join('\n')}`);
        await new Promise<void>((resolve) => {
          this.#changed = resolve;
        });
      }
      at += 1;
    }
    return at;
  }
}

/** Makes an edit: the lines with a minus become those with a plus. */
function edit(file: string, lines: readonly string[]): void {
  const side = (sign: string): string =>
    lines
      .filter((line) => line.startsWith(sign))
      .map((line) => line.slice(1))
      .join('\n');
  const text = readFileSync(file, 'utf8');
  assert.equal(text.split(side('-')).length, 2, `${file} has this once:\n${side('-')}`);
  writeFileSync(
    file,
    text.replace(side('-'), () => side('+')),
  );
}

test('every command and edit of the first-device guide does what it says', async () => {
  const folder = join(home, 'devices/my-adder');
  /** What ran last. */
  let output: Output | undefined;
  let background: Output | undefined;
  let seen = 0;
  for (const { language, info, lines } of blocks()) {
    if (language === 'sh') {
      const commands = lines.join('\n');
      output = new Output(terminal(commands.includes(' init ') ? ROOT : folder, commands));
      seen = 0;
      if (info === 'first terminal') background = output;
      else assert.equal(await output.ended, 0, output.lines.join('\n'));
    } else if (language === 'text') {
      seen = await output!.says(lines, seen);
    } else if (language === 'diff') {
      edit(join(folder, info), lines);
    } else {
      assert.equal(language, 'ts');
      assert.ok(readFileSync(join(folder, 'device.ts'), 'utf8').includes(lines.join('\n')), lines.join('\n'));
    }
  }
  assert.equal(await background!.ended, 0, background!.lines.join('\n'));
  // The device's own state went over: its clock did not start again.
  const ups = background!.lines.flatMap((line) => /up (\d+) ms/.exec(line)?.[1] ?? []).map(Number);
  assert.ok(ups.length >= 2, background!.lines.join('\n'));
  assert.deepEqual(
    ups,
    ups.toSorted((a, b) => a - b),
  );
});
