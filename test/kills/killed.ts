import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { connectVhostUser, openDriver } from '../../src/index.js';
import type { RingFeatures } from '../../src/virtio/ring-features.js';

const PROGRAM = fileURLToPath(new URL('backend.js', import.meta.url));

/** Requests that are under way at a time. */
const OUTSTANDING = 32;

/** A back-end after another at one socket, the next one ready before it is needed. */
class Backends {
  readonly complaints: string[] = [];
  readonly #socket: string;
  readonly #dieAt: (nth: number) => number;
  #made = 0;
  #current: ChildProcess;
  #next: ChildProcess;

  constructor(socket: string, dieAt: (nth: number) => number) {
    this.#socket = socket;
    this.#dieAt = dieAt;
    this.#current = this.#make();
    this.#next = this.#make();
  }

  /** Kills the one that serves, if it did not do that itself, and has the next one serve. */
  async replace(kill: boolean): Promise<void> {
    const old = this.#current;
    if (kill) old.kill('SIGKILL');
    if (old.exitCode === null && old.signalCode === null) await once(old, 'exit');
    assert.equal(old.signalCode, 'SIGKILL', this.complaints.join('\n'));
    this.#current = this.#next;
    this.#next = this.#make();
    await this.start();
  }

  async start(): Promise<void> {
    const child = this.#current;
    await ready.get(child);
    child.send('serve');
  }

  close(): void {
    for (const child of [this.#current, this.#next]) child.kill('SIGKILL');
  }

  #make(): ChildProcess {
    this.#made += 1;
    const args = [this.#socket, `${this.#dieAt(this.#made)}`];
    const child = fork(PROGRAM, args, { stdio: ['ignore', 'inherit', 'pipe', 'ipc'] });
    child.stderr!.setEncoding('utf8').on('data', (text: string) => this.complaints.push(text));
    const isReady = new Promise<void>((resolve, reject) => {
      child.once('message', () => resolve());
      child.once('exit', (code) => reject(new Error(`it ended with ${code}: ${this.complaints.join('')}`)));
    });
    isReady.catch(() => {});
    ready.set(child, isReady);
    return child;
  }
}

const ready = new WeakMap<ChildProcess, Promise<unknown>>();

/** What became of a driver whose device was killed. */
export interface Outcome {
  readonly kills: number;
  readonly requests: number;
}

export interface KillOptions {
  readonly features: RingFeatures;
  readonly kills: number;
  readonly queueSize?: number;
  /** After which store the nth back-end kills itself; the parent kills it at some moment unless told. */
  readonly dieAt?: (nth: number) => number;
}

/** Makes requests of a device that is killed again and again. Each is answered once, with its own answer. */
export async function surviveKills({
  features,
  kills,
  queueSize = 128,
  dieAt,
}: KillOptions): Promise<Outcome> {
  const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  const socket = join(folder, 'device.sock');
  const backends = new Backends(socket, (nth) => (nth <= kills ? (dieAt?.(nth) ?? 0) : 0));
  try {
    // The first is there for the driver to start with.
    const first = await connected(backends, socket);
    const driver = await openDriver(first, {
      id: 63,
      features: 0n,
      queues: 1,
      queueSize,
      ringFeatures: features,
    });
    let failure: Error | undefined;
    void driver.failure.then((error) => {
      failure = error;
    });
    const [queue] = driver.queues;
    let stop = false;
    let asked = 0;
    let answered = 0;
    const ask = async (): Promise<void> => {
      while (!stop) {
        const id = asked++;
        const request = Buffer.alloc(8);
        request.writeUInt32LE(id);
        request.writeUInt32LE(~id >>> 0, 4);
        const answer = await queue!.request(request, 16);
        assert.deepEqual(Buffer.from(answer), Buffer.concat([request, request]));
        answered += 1;
      }
    };
    const asking = Promise.all(Array.from({ length: OUTSTANDING }, ask));
    asking.catch(() => {});
    for (let kill = 0; kill < kills; kill++) {
      // It may kill itself, but for the first, with which the driver has to get to know it.
      const lives = dieAt === undefined || dieAt(kill + 1) === 0;
      if (lives)
        await passed(
          () => failure,
          answered + Math.floor(Math.random() * 300),
          () => answered,
        );
      await Promise.race([backends.replace(lives), driver.failure.then((error) => Promise.reject(error))]);
    }
    await passed(
      () => failure,
      answered + 200,
      () => answered,
    );
    stop = true;
    await asking;
    assert.equal(failure, undefined);
    assert.equal(answered, asked);
    assert.deepEqual(backends.complaints, []);
    await driver.close();
    return { kills, requests: answered };
  } finally {
    backends.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function connected(backends: Backends, socket: string): ReturnType<typeof connectVhostUser> {
  await backends.start();
  for (;;) {
    try {
      return await connectVhostUser(socket, { reconnect: true, timeout: 60_000 });
    } catch (error) {
      if (!['ENOENT', 'ECONNREFUSED'].includes((error as { code?: string }).code ?? '')) throw error;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

/** Waits until so many were answered. */
async function passed(
  failure: () => Error | undefined,
  count: number,
  answered: () => number,
): Promise<void> {
  while (answered() < count) {
    const error = failure();
    if (error !== undefined) throw error;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
