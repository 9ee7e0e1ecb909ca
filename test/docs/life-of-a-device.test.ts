import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, test } from 'node:test';
import { connectVhostUser, type Driver, openDriver } from '../../src/index.js';
import { MAIN } from '../virtio-misc.js';
import { Reader } from './reader.js';

const reader = new Reader('life-of-a-device.md');
reader.testCode();

let child: ChildProcess | undefined;
let driver: Driver | undefined;
after(async () => {
  child?.kill('SIGKILL');
  await driver?.close();
});

/** What is after `npx virtio-misc`. */
const words = (line: string): string[] => line.replace('npx virtio-misc ', '').split(' ');

/** All that a command says, on both streams. */
async function outputOf(...args: string[]): Promise<string> {
  const command = spawn(process.execPath, [MAIN, ...args], {
    cwd: reader.folder,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [command.stdout, command.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  await once(command, 'close');
  return output;
}

test('the commands of the page say what it says', async () => {
  const [serve] = reader.code.filter(({ file }) => file === 'serve');
  child = spawn(process.execPath, [MAIN, ...words(serve!.code.trim()), '--no-type-check', '--log', 'json'], {
    cwd: reader.folder,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  for await (const line of createInterface({ input: child.stderr! })) if (line.includes('serving')) break;
  child.stderr!.resume();
  driver = await openDriver(await connectVhostUser(join(reader.folder, 'bell.sock')), {
    id: 60,
    features: 0n,
    queues: 1,
  });
  let heard = 0;
  const [queue] = driver.queues;
  const rung = new Promise<void>((resolve) => {
    const hear = (): void => {
      heard += 1;
      if (heard === 4) resolve();
    };
    for (let i = 0; i < 4; i++) queue!.post(8, hear);
  });

  const consoles = reader.code.filter(({ language }) => language === 'console');
  assert.equal(consoles.length, 2);
  for (const { code } of consoles) {
    for (const asked of code.split(/^\$ /m).slice(1)) {
      const [command, ...says] = asked.trimEnd().split('\n');
      const said = await outputOf(...words(command!));
      assert.equal(said.trimEnd().replaceAll(`${reader.folder}/`, '/home/ann/'), says.join('\n'), command);
    }
  }
  await rung;
  await driver.close();
  child.kill('SIGTERM');
  assert.deepEqual(await once(child, 'exit'), [0, null]);
});
