import { writeFileSync } from 'node:fs';
import { basename, dirname, relative, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Command, Option } from 'commander';
import { connectVfioUser, connectVhostUser } from '../connect.js';
import { printable } from '../lines/printable.js';
import type { InspectEvent } from '../observe/event.js';
import { type TestDevice, testOf } from '../record/as-test.js';
import { connectionsOf, type RecordedConnection, ReplayError } from '../record/connection-events.js';
import type { Difference } from '../record/difference.js';
import { PlayAgainst } from '../record/play-against.js';
import { RecordingError } from '../record/recording-error.js';
import { Replay, seconds } from '../record/replay.js';
import type { DriverTransport } from '../virtio/driver-transport.js';
import {
  addDeviceOptions,
  DEVICE_LIST,
  type DeviceKind,
  type DeviceOptions,
  findDevice,
  type Settings,
  setOption,
} from './device-options.js';
import { TIME_HELP } from './duration.js';
import { damageLine, readRecording } from './read-recording.js';
import { UsageError } from './usage-error.js';

interface Options extends DeviceOptions {
  readonly set?: Settings;
  readonly connection?: string;
  readonly asTest?: string;
  readonly against?: string;
  readonly transport?: 'vhost-user' | 'vfio-user';
}

/** `virtio-misc replay`: plays a recorded driver to a device. */
export function replayCommand(): Command {
  const command = new Command('replay')
    .summary('play the driver of a recording to a device, and compare the answers')
    .description(
      `Plays what the driver of a recording did to a device, on a clock that stands where the recording is, and says where the device\nfirst answers otherwise; the exit code is 1 then. Without a device it is the one of the recording, if that is one of this package.\n\nDevices:\n${DEVICE_LIST}`,
    )
    .addHelpText('after', `\n${TIME_HELP}`)
    .argument('<file>', 'the recording')
    .argument('[device]', 'which device, or its file')
    .addOption(setOption())
    .option('--connection <n>', 'only this connection; each in turn unless told')
    .option('--as-test <file>', "write a test for 'node --test' of it instead, such as echo.test.js")
    .option('--against <socket>', 'play it, at its own pace, to the back end behind this socket instead')
    .addOption(
      new Option('--transport <name>', 'what --against speaks; what was recorded unless told').choices([
        'vhost-user',
        'vfio-user',
      ]),
    );
  return addDeviceOptions(command).action(run);
}

async function run(path: string, name: string | undefined, options: Options): Promise<void> {
  if (options.asTest !== undefined && options.against !== undefined)
    throw new UsageError('--as-test and --against: take one of them');
  if (options.against !== undefined && name !== undefined)
    throw new UsageError('--against plays to what is behind its socket: leave the device out');
  const { events, damage } = await read(path);
  try {
    const connections = chosen(connectionsOf(events), options.connection, path);
    if (options.against !== undefined) await against(connections, options.against, options);
    else await here(path, connections, name, options);
  } catch (error) {
    if (!(error instanceof ReplayError)) throw error;
    throw new UsageError(printable(error.message));
  }
  if (damage !== undefined) throw new UsageError(damageLine(path, damage));
}

async function read(path: string): Promise<{ events: InspectEvent[]; damage?: RecordingError }> {
  const events: InspectEvent[] = [];
  try {
    for await (const event of readRecording(path)) events.push(event);
  } catch (error) {
    if (!(error instanceof RecordingError) || events.length === 0) {
      if (error instanceof RecordingError) throw new UsageError(damageLine(path, error));
      throw error;
    }
    return { events, damage: error };
  }
  return { events };
}

function chosen(
  connections: readonly RecordedConnection[],
  wanted: string | undefined,
  path: string,
): readonly RecordedConnection[] {
  if (wanted === undefined) return connections;
  const found = connections.filter(({ number }) => `${number}` === wanted);
  if (found.length > 0) return found;
  const numbers = connections.map(({ number }) => number).join(', ');
  throw new UsageError(`there is no connection '${wanted}' in ${path}: take one of ${numbers}`);
}

async function here(
  path: string,
  connections: readonly RecordedConnection[],
  name: string | undefined,
  options: Options,
): Promise<void> {
  const kind = await findDevice(name ?? recordedDevice(connections), options);
  if (options.asTest !== undefined) {
    const { id, name: device } = kind.make(options);
    const other = connections.find(({ connected }) => connected.device.id !== id)?.connected.device;
    if (other !== undefined)
      throw new ReplayError(
        `the recording is of ${other.name} (id ${other.id}), and this is ${device} (id ${id})`,
      );
    const target = resolve(options.asTest);
    try {
      writeFileSync(target, testOf(connections, testDevice(kind, target, options), basename(path)), {
        flag: 'wx',
      });
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code === undefined) throw error;
      throw new UsageError(
        code === 'EEXIST'
          ? `${target} is there already: take another name`
          : `${target} can't be written: ${message}`,
      );
    }
    console.log(`wrote ${target}: node --test ${options.asTest}`);
    return;
  }
  const ports = { turn: () => sleep(1), now: () => performance.now() };
  for (const connection of connections) {
    const replay = new Replay(connection, kind.make(options), ports);
    const difference = await replay.run();
    report(connection, replay.count, difference);
    if (difference !== undefined) return;
  }
}

async function against(
  connections: readonly RecordedConnection[],
  socket: string,
  options: Options,
): Promise<void> {
  const stop = new AbortController();
  const now = (): number => performance.now();
  const wait = (ms: number): Promise<void> => sleep(ms, undefined, { signal: stop.signal }).catch(() => {});
  try {
    for (const connection of connections) {
      const transport = options.transport ?? connection.connected.transport;
      const connect = (): Promise<DriverTransport> =>
        transport === 'vfio-user' ? connectVfioUser(resolve(socket)) : connectVhostUser(resolve(socket));
      const player = new PlayAgainst(connection, { connect, now, wait });
      const difference = await player.run();
      report(connection, player.count, difference);
      if (difference !== undefined) break;
    }
  } finally {
    stop.abort();
  }
}

function report(connection: RecordedConnection, count: number, difference: Difference | undefined): void {
  const { number, connected } = connection;
  const what = printable(`${connected.device.name}, connection ${number}`);
  if (difference === undefined) {
    console.log(`${what}: ${count} ${count === 1 ? 'answer' : 'answers'}, all as recorded`);
    return;
  }
  console.log(
    `${what}: after ${seconds(difference.event)}, and ${count} answers: ${printable(difference.text)}`,
  );
  for (const line of difference.detail) console.log(`    ${printable(line)}`);
  process.exitCode = 1;
}

/** By name, of those that ship with this program. */
function recordedDevice(connections: readonly RecordedConnection[]): string {
  const { name, id } = connections[0]!.connected.device;
  if (name === 'virtio-test' || name === 'virtio-misc') return name;
  throw new UsageError(
    printable(
      `the recording is of ${name} (id ${id}): name its file, as in 'virtio-misc replay FILE ./my-device.ts'`,
    ),
  );
}

/** How a test beside `target` gets the device. */
function testDevice(kind: DeviceKind, target: string, options: Options): TestDevice {
  if (kind.file === undefined) {
    const make = kind.name.endsWith('misc') ? 'virtioMisc' : 'virtioTest';
    const { variant, first, every, maxTimers } = options;
    const told = Object.entries({ variant, first, every, maxTimers }).filter(
      ([, value]) => value !== undefined,
    );
    const words = told.map(([name, value]) => `${name}: ${JSON.stringify(value)}`).join(', ');
    return {
      importLine: `import { DeviceBench, ${make} } from 'virtio-misc';`,
      make: `${make}(${words === '' ? '' : `{ ${words} }`})`,
    };
  }
  const way = relative(dirname(target), kind.file.path).replaceAll('\\', '/');
  const specifier = JSON.stringify(way.startsWith('.') ? way : `./${way}`);
  const settings = Object.entries(options.set ?? {});
  const make = settings.length === 0 ? 'makeDevice' : `makeDevice.told(${JSON.stringify(options.set)})`;
  return {
    importLine: `import { DeviceBench } from 'virtio-misc';\nimport makeDevice from ${specifier};`,
    make,
  };
}
