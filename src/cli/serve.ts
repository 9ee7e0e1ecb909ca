import { resolve } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { serve } from '../serve.js';
import { capabilities } from './capabilities.js';
import {
  addDeviceOptions,
  DEVICE_LIST,
  type DeviceOptions,
  findDevice,
  vectorsOption,
} from './device-options.js';
import { reloadOnSave } from './live-reload.js';
import { makeLog } from './log.js';
import { stopSignal } from './stop-signal.js';
import { UsageError } from './usage-error.js';

interface Options extends DeviceOptions {
  readonly vhostUser?: string;
  readonly vfioUser?: string;
  readonly socketPath?: string;
  readonly fd?: number;
  readonly printCapabilities?: boolean;
  readonly vectors?: number;
  readonly quiet?: boolean;
  readonly watch: boolean;
  readonly log: 'auto' | 'pretty' | 'json';
}

/** `virtio-misc serve`: a device on a socket, until told to stop. */
export function serveCommand(): Command {
  const command = new Command('serve')
    .summary('serve a device on a socket')
    .description(
      `Serves a device to any front-end, one after another, until SIGINT or SIGTERM. What the device prints goes to stdout,\nthe log to stderr. 'virtio-misc qemu-args' prints the QEMU command line for it.\n\nDevices:\n${DEVICE_LIST}`,
    )
    .argument('<device>', 'which device, or its file')
    .option('--vhost-user <socket>', 'serve vhost-user on this socket file')
    .option('--vfio-user <socket>', 'serve vfio-user on this socket file')
    .option('--socket-path <socket>', 'the same as --vhost-user, as programs that start back-ends write it')
    .addOption(
      new Option(
        '--fd <n>',
        'serve vhost-user on this open descriptor, which listens or is connected',
      ).argParser(descriptor),
    )
    .option('--print-capabilities', 'print what the device is, as JSON, and stop')
    .addOption(vectorsOption())
    .option('--no-watch', "do not reload a device's file when it is saved")
    .option('--quiet', 'do not show what the device prints')
    .addOption(
      new Option('--log <format>', 'of the log').choices(['auto', 'pretty', 'json']).default('auto'),
    );
  return addDeviceOptions(command).action(run);
}

async function run(name: string, options: Options): Promise<void> {
  const kind = await findDevice(name, options);
  if (options.printCapabilities) {
    console.log(JSON.stringify(capabilities(kind.make(options))));
    return;
  }
  const vhostUser = vhostUserPlace(options);
  const sockets = {
    ...(vhostUser !== undefined && { vhostUser }),
    ...(options.vfioUser !== undefined && { vfioUser: resolve(options.vfioUser) }),
  };
  if (Object.keys(sockets).length === 0) {
    throw new UsageError('say where to serve: --vhost-user SOCKET or --vfio-user SOCKET');
  }
  if (options.vectors !== undefined && options.vfioUser === undefined)
    throw new UsageError('--vectors needs --vfio-user');
  const log = makeLog(options.log);
  const server = await serve(() => kind.make(options), {
    ...sockets,
    ...(options.vectors !== undefined && { vectors: options.vectors }),
    ...(options.quiet && { print: () => {} }),
    warn: (line) => log.warn(line),
    connected: (socket) => log.info({ socket }, 'front-end connected'),
    gone: (socket, error) => {
      if (error === undefined) log.info({ socket }, 'front-end left');
      else log.warn({ socket }, `front-end dropped: ${error.message}`);
    },
  });
  const stopped = stopSignal();
  const stopReloading =
    kind.file !== undefined && options.watch ? reloadOnSave(kind.file, server, log) : undefined;
  for (const socket of Object.values(sockets)) log.info({ socket }, `serving ${kind.make(options).name}`);
  const signal = await Promise.race([stopped, server.finished]);
  log.info(signal === undefined ? 'stopping: the only front-end left' : `stopping on ${signal}`);
  stopReloading?.();
  server.close();
}

/** Where to serve vhost-user: a path, or a descriptor. */
function vhostUserPlace({ vhostUser, socketPath, fd }: Options): string | number | undefined {
  const places = [vhostUser, socketPath, fd].filter((place) => place !== undefined);
  if (places.length > 1) throw new UsageError('--vhost-user, --socket-path and --fd: take one of them');
  const [place] = places;
  return typeof place === 'string' ? resolve(place) : place;
}

function descriptor(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('write the number of an open descriptor.');
  return Number(text);
}
