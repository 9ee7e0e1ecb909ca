import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BenchContext, BenchError, type ProcessOptions, type Started } from './bench.js';
import { allowedCpus } from './machine.js';

const SOURCES = new URL('../../../bench/', import.meta.url);
/** ms; the quick way is to see that something comes out at all. */
const QUICK = 20;

export interface WorkshopOptions {
  readonly quick: boolean;
  readonly rounds: number;
  readonly record?: boolean;
  readonly inspect?: boolean;
  readonly keeper?: boolean;
  progress(line: string): void;
}

/** Where benches are run: it builds yardsticks, starts processes, and leaves nothing behind. */
export class Workshop implements BenchContext {
  readonly quick: boolean;
  readonly rounds: number;
  readonly record: boolean;
  readonly inspect: boolean;
  readonly keeper: boolean;
  readonly progress: (line: string) => void;
  readonly cpus: readonly number[];
  readonly folder: string = mkdtempSync(join(tmpdir(), 'virtio-misc-bench-'));
  readonly #yardsticks = new Map<string, Promise<string>>();
  readonly #running = new Set<Started>();

  constructor({ quick, rounds, record = false, inspect = false, keeper = false, progress }: WorkshopOptions) {
    this.quick = quick;
    this.rounds = rounds;
    this.record = record;
    this.inspect = inspect;
    this.keeper = keeper;
    this.progress = progress;
    this.cpus = spawnSync('taskset', ['--version']).status === 0 ? allowedCpus().slice(0, 2) : [];
  }

  time(long: number): number {
    return this.quick ? QUICK : long;
  }

  yardstick(name: string): Promise<string> {
    let built = this.#yardsticks.get(name);
    if (built === undefined) {
      built = this.#build(name);
      this.#yardsticks.set(name, built);
    }
    return built;
  }

  start(command: readonly string[], { cpu, env }: ProcessOptions = {}): Started {
    const [program, ...args] = cpu === undefined ? command : ['taskset', '-c', String(cpu), ...command];
    const child = spawn(program!, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    let out = '';
    let errors = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      out += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      errors = (errors + text).slice(-4096);
    });
    let stopped = false;
    const output = new Promise<string>((resolve, reject) => {
      child.on('error', (error) => reject(new BenchError(`${command[0]} can't be run: ${error.message}`)));
      child.on('close', (code, signal) => {
        this.#running.delete(started);
        if (code === 0 || stopped) resolve(out);
        else reject(new BenchError(`${command.join(' ')} ended with ${code ?? signal}: ${errors.trim()}`));
      });
    });
    // Who only stops it does not ask how it went.
    output.catch(() => {});
    const started: Started = {
      pid: child.pid ?? -1,
      output,
      said: () => errors,
      stop: async () => {
        stopped = true;
        child.kill();
        await output.catch(() => {});
      },
    };
    this.#running.add(started);
    return started;
  }

  run(command: readonly string[], options?: ProcessOptions): Promise<string> {
    return this.start(command, options).output;
  }

  /** Ends all processes that still run and removes the folder. */
  async close(): Promise<void> {
    await Promise.all([...this.#running].map((started) => started.stop()));
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #build(name: string): Promise<string> {
    const program = join(this.folder, name);
    const source = fileURLToPath(new URL(`${name}.c`, SOURCES));
    const compiler = process.env.CC ?? 'cc';
    if (spawnSync(compiler, ['--version']).status !== 0) {
      throw new BenchError(
        `the yardsticks are C and there is no compiler '${compiler}': install gcc, or name one with CC`,
      );
    }
    await this.run([compiler, '-O2', '-Wall', '-Wextra', '-o', program, source, '-lpthread']);
    return program;
  }
}
