import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import { type BrowserContextOptions, chromium, type Page } from 'playwright-core';

const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--remote-debugging-port=0',
];

/** Debian's chromium, wherever the PATH has it; `undefined` where there is none. */
export function findBrowser(): string | undefined {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    const program = join(folder, 'chromium');
    try {
      accessSync(program, constants.X_OK);
      return program;
    } catch {
      // In the next one, perhaps.
    }
  }
  return undefined;
}

/** Why browser tests can't run here: never on a machine of CI, where a browser has to be. */
export function withoutBrowser(): string | false {
  if (process.env.CI !== undefined || findBrowser() !== undefined) return false;
  return 'there is no chromium: apt-get install chromium';
}

/** A browser with nobody's data, which ends with whoever started it. */
export interface Browser {
  /** A page of 1280 x 720 unless told. */
  page(options?: BrowserContextOptions): Promise<Page>;
  close(): Promise<void>;
}

/** Starts one. @throws Error when there is none, or it does not start. */
export async function startBrowser(): Promise<Browser> {
  const program = findBrowser();
  if (program === undefined) throw new Error('there is no chromium: apt-get install chromium');
  const data = mkdtempSync(join(tmpdir(), 'virtio-misc-browser-'));
  const child = spawn(program, [...FLAGS, `--user-data-dir=${data}`, 'about:blank'], {
    stdio: ['ignore', 'ignore', 'pipe'],
    // It finds its own helpers by this group, and takes them along.
    detached: true,
  });
  const close = async (): Promise<void> => {
    await ended(child);
    rmSync(data, { recursive: true, force: true, maxRetries: 20 });
  };
  try {
    const browser = await chromium.connectOverCDP(await address(child));
    return {
      page: async (options = {}) => {
        const context = await browser.newContext({ viewport: { width: 1280, height: 720 }, ...options });
        return context.newPage();
      },
      async close() {
        await browser.close().catch(() => {});
        await close();
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** What it says where it can be steered. */
async function address(child: ChildProcess): Promise<string> {
  const said: string[] = [];
  for await (const line of createInterface({ input: child.stderr! })) {
    const found = /^DevTools listening on (ws:\S+)$/.exec(line)?.[1];
    if (found !== undefined) {
      child.stderr!.resume();
      return found;
    }
    said.push(line);
  }
  throw new Error(`chromium ended with ${child.exitCode}: ${said.slice(-5).join('\n')}`);
}

async function ended(child: ChildProcess): Promise<void> {
  const { pid } = child;
  if (pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  process.kill(-pid, 'SIGKILL');
  await exit;
}
