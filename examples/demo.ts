// Both devices in one process, their drivers in another, a real socket and shared memory between them, and no VM.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { styleText } from 'node:util';
import {
  connectVfioUser,
  connectVhostUser,
  type DriverTransport,
  loopback,
  MiscDriver,
  TestDriver,
  type VirtioDevice,
  virtioMisc,
  virtioTest,
} from '../src/index.js';
import { inspected } from './inspected.js';

const linux = process.platform === 'linux';
const cli = fileURLToPath(new URL('../src/cli/main.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-demo-'));

/** A device somewhere, the way to it, and the lines that it prints. */
interface Served {
  readonly transport: DriverTransport;
  /** The next line that the device prints. */
  line(): Promise<string>;
  stop(): Promise<void>;
}

/** What was expected, and was so. */
const held = new Set<string>();

const inspect = process.argv.indexOf('--inspect');
if (inspect >= 0) await look(Number(process.argv[inspect + 1] ?? 0));
else await showAll();

/** With the inspector's page, until Ctrl-C. */
async function look(port: number): Promise<void> {
  rmSync(folder, { recursive: true, force: true });
  if (!(Number.isInteger(port) && port >= 0 && port <= 65_535)) {
    console.error('demo: write a port from 0 to 65535 behind --inspect, or none');
    process.exitCode = 1;
    return;
  }
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
  await inspected(port, stop.signal);
}

async function showAll(): Promise<void> {
  try {
    title(
      linux
        ? 'Devices in a process of their own; drivers in this one; a socket and shared memory between them.'
        : `Over loopback, device and driver in one process: ${process.platform} has no vhost-user and vfio-user here.`,
    );
    await echo();
    await events();
    await timers();
    title('All as designed. What was looked at:');
    for (const what of held) console.log(`  ${styleText('green', '✔')} ${what}`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function echo(): Promise<void> {
  title(`virtio-test ${over('vhost-user')}: virtio 10`);
  const served = await serve('vhost-user', ['test'], virtioTest()());
  const driver = await TestDriver.open(served.transport);
  const response = await driver.write(10);
  const printed: string[] = [];
  for (let i = 0; i < 5; i++) printed.push(await served.line());
  for (const line of printed) device(line);
  const asked = ['type [ 10 ]', 'arg1 [ 11 ]', 'arg2 [ 12 ]', 'arg3 [ 13 ]', 'arg3 [ hello back end! ]'];
  expect(
    printed.join() === asked.map((what) => `QEMU_BACK_END: >>> get ${what} form the front end <<<`).join(),
    'the device prints the request as the design has it, letter for letter',
  );
  says('virtio test_request_done get ack');
  for (const [name, value] of Object.entries(response)) says(`virtio response ${name} is ${value}`);
  expect(
    response.ret === 111 && response.arg1 === 112 && response.arg2 === 113,
    'the device answers 111, 112, 113',
  );
  await driver.close();
  await served.stop();
}

async function events(): Promise<void> {
  title(`virtio-test, variant events, ${over('vhost-user')}: the device pushes config changes`);
  const options = ['--variant', 'events', '--first', '300ms', '--every', '200ms'];
  const served = await serve(
    'vhost-user',
    ['test', ...options],
    virtioTest({ variant: 'events', first: 300, every: 200 })(),
  );
  const driver = await TestDriver.open(served.transport);
  let counted: (count: number) => void = () => {};
  driver.onConfigChange((count) => counted(count));
  for (let cycle = 1; cycle <= 3; cycle++) {
    const answered = new Promise<number>((resolve) => {
      counted = resolve;
    });
    device(await served.line());
    says('virttest virttest_changed');
    says('virttest get config change');
    device(await served.line());
    expect((await answered) === cycle, 'each config change is answered with its number');
    says('virttest get ack');
  }
  await driver.close();
  await served.stop();
}

async function timers(): Promise<void> {
  title(`virtio-misc ${over('vfio-user')}: timers, and how late they fire`);
  const served = await serve('vfio-user', ['misc'], virtioMisc()());
  const driver = await MiscDriver.open(served.transport);
  const fired: number[] = [];
  await new Promise<void>((resolve) => {
    const func = ({ delay, start }: { delay: number; start: number }): void => {
      const late = performance.now() - start - delay;
      expect(late >= 0, 'no timer is early');
      says(`func(${delay}) called, ${late.toFixed(3)} ms late`);
      fired.push(delay);
      if (fired.length === 3) resolve();
    };
    for (const delay of [500, 250, 1000])
      void driver.setTimer(delay, func, { delay, start: performance.now() });
  });
  expect(fired.join() === '250,500,1000', 'timers fire in the order of their deadlines');
  let ticks = 0;
  for await (const expirations of driver.expirations({ delay: 50e6, interval: 50e6 })) {
    ticks += expirations;
    if (ticks >= 5) break;
  }
  expect(ticks >= 5, 'a periodic timer ticks until it is cancelled');
  says(`a timer of 50 ms ticked ${ticks} times, and was cancelled`);
  await driver.close();
  await served.stop();
}

/** Starts the device: in a process of its own and over a socket, or (elsewhere than on Linux) right here. */
async function serve(kind: 'vhost-user' | 'vfio-user', args: string[], local: VirtioDevice): Promise<Served> {
  const lines: string[] = [];
  let wake: () => void = () => {};
  const add = (text: string): void => {
    lines.push(text);
    wake();
  };
  const line = async (): Promise<string> => {
    while (lines.length === 0) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    return lines.shift()!;
  };
  if (!linux) return { transport: loopback(local, { print: add }), line, stop: async () => {} };

  const socket = join(folder, `${args[0]}-${kind}.sock`);
  const child = spawn(process.execPath, [cli, 'serve', ...args, `--${kind}`, socket, '--log', 'json'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  createInterface({ input: child.stdout }).on('line', add);
  await serving(child);
  const transport = kind === 'vhost-user' ? await connectVhostUser(socket) : await connectVfioUser(socket);
  return {
    transport,
    line,
    async stop() {
      child.kill('SIGTERM');
      const [code] = await once(child, 'exit');
      expect(code === 0, "each device's process ends cleanly");
    },
  };
}

/** Waits for the log to say that the device is served. */
async function serving(child: ChildProcess): Promise<void> {
  const log = createInterface({ input: child.stderr! });
  for await (const entry of log) {
    if (!entry.includes('serving')) continue;
    child.stderr!.resume();
    return;
  }
  throw new Error('the device process ended before it served its device');
}

function over(transport: string): string {
  return `over ${linux ? transport : 'loopback'}`;
}

function title(text: string): void {
  console.log(`\n${styleText('bold', text)}`);
}

function device(text: string): void {
  console.log(`  ${styleText('cyan', 'device')}  ${text}`);
}

function says(text: string): void {
  console.log(`  ${styleText('yellow', 'driver')}  ${text}`);
}

function expect(holds: boolean, what: string): void {
  if (!holds) throw new Error(`expected that ${what}`);
  held.add(what);
}
