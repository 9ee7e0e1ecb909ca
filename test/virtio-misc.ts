import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import './accel.js';

export const MAIN: string = fileURLToPath(new URL('../src/cli/main.js', import.meta.url));

/** What the program did. */
export interface Outcome {
  readonly code: number | null;
  /** Of stdout. */
  readonly lines: readonly string[];
  readonly stderr: string;
}

/** Starts the program with these arguments, and more environment variables than ours. */
export function start(args: readonly string[], env: Readonly<Record<string, string>> = {}): ChildProcess {
  return spawn(process.execPath, [MAIN, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  });
}

/** Runs the program to its end. */
export async function virtioMisc(...args: string[]): Promise<Outcome> {
  const child = start(args);
  const lines: string[] = [];
  let stderr = '';
  createInterface({ input: child.stdout! }).on('line', (line) => lines.push(line));
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, lines, stderr };
}

/** A console's lines without the kernel's time stamps. */
export function withoutTime(lines: readonly string[]): string[] {
  return lines.map((line) => line.replace(/^\[ *\d+\.\d+\] /, ''));
}
