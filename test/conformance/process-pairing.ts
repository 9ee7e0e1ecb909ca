import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { connectVfioUser, connectVhostUser } from '../../src/index.js';
import type { RingFeatures } from '../../src/virtio/ring-features.js';
import { start } from '../virtio-misc.js';
import { Lines } from './lines.js';
import type { Attached, Pairing } from './pairing.js';

/** A served device that can be killed. */
export interface ServedProcess extends Attached {
  readonly pid: number;
  /** Ends the device's process without a word. */
  kill(): Promise<void>;
}

export interface ProcessPairingOptions {
  /** vfio-user: whether the device maps the driver's memory, or reaches it by messages. Default `true`. */
  readonly shareMemory?: boolean;
}

/** The device in a process of its own, as `virtio-misc serve --no-keeper` serves it; the driver here. */
export async function serveProcess(
  transport: 'vhost-user' | 'vfio-user',
  command: readonly string[],
  { shareMemory = true }: ProcessPairingOptions = {},
  features: RingFeatures = {},
): Promise<ServedProcess> {
  const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  const socket = join(folder, 'device.sock');
  const names = Object.entries(features).map(([name, on]) => `${on ? '' : 'no-'}${kebab(name)}`);
  const chosen = names.length === 0 ? [] : ['--features', names.join(',')];
  // One process, which a test can stop.
  const args = [...command, '--no-keeper', `--${transport}`, socket, '--log', 'json', ...chosen];
  const child = start(['serve', ...args]);
  const lines = new Lines();
  createInterface({ input: child.stdout! }).on('line', lines.add);
  const warnings: string[] = [];
  await new Promise<void>((resolve, reject) => {
    child.on('exit', () => reject(new Error('the device process ended before it served its device')));
    createInterface({ input: child.stderr! }).on('line', (line) => {
      const { level, msg } = JSON.parse(line) as { level: number; msg: string };
      if (level > 30) warnings.push(msg);
      if (msg.startsWith('serving')) resolve();
    });
  });
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill(signal);
      await once(child, 'exit');
    }
    rmSync(folder, { recursive: true, force: true });
  };
  return {
    pid: child.pid!,
    lines: lines.all,
    printed: lines.printed,
    warnings,
    connect: () =>
      transport === 'vhost-user' ? connectVhostUser(socket) : connectVfioUser(socket, { shareMemory }),
    kill: () => end('SIGKILL'),
    close: () => end('SIGTERM'),
  };
}

export function processPairing(
  transport: 'vhost-user' | 'vfio-user',
  options: ProcessPairingOptions = {},
): Pairing {
  const memory = options.shareMemory === false ? ', memory by messages' : '';
  return {
    name: `${transport}${memory}, device in another process`,
    more: {
      ...(transport === 'vfio-user' && { notificationData: true, notifConfigData: true, suspend: true }),
      accessPlatform: true,
      orderPlatform: true,
    },
    attach: (_make, command, features) => serveProcess(transport, command, options, features),
  };
}

function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
