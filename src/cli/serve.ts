import { existsSync, realpathSync } from 'node:fs';
import { resolve } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { isDeviceFile } from '../device-file/is-device-file.js';
import { KEEPER_VARIABLE, type ReloadResult } from '../keeper/frames.js';
import type { ServeOptions } from '../serve.js';
import { capabilities } from './capabilities.js';
import { controlOption } from './control-places.js';
import type { DeskChild } from './desk-child.js';
import { deskName, wantsDesk } from './desk-frames.js';
import { addDeviceOptions, DEVICE_LIST, findDevice, setOption, vectorsOption } from './device-options.js';
import { TIME_HELP } from './duration.js';
import { featuresOption } from './features-option.js';
import { checkInspect, inspectHostOption, inspectOption } from './inspect-option.js';
import { checkKeeper, sparesOption, stuckAfterOption } from './keeper-options.js';
import { type Logger, makeLog } from './log.js';
import { maxMemoryOption, SIZE_HELP } from './memory-size.js';
import { metricsOption } from './metrics-option.js';
import { pollOption } from './poll-option.js';
import { checkRecording, recordBytesOption, recordOption } from './record-options.js';
import type { KeeperSettings } from './serve-keeper.js';
import type { ServeCommandOptions } from './serve-options.js';
import type { Worker } from './serve-worker.js';
import { FLUSH, shareStreams, takeOverStreams } from './standard-streams.js';
import { readState } from './state-file.js';
import { typeCheckOption } from './type-check-option.js';
import { UsageError } from './usage-error.js';

/** `virtio-misc serve`: a device on a socket, until told to stop. */
export function serveCommand(): Command {
  const command = new Command('serve')
    .summary('serve a device on a socket')
    .description(
      `Serves a device to any front-end, one after another, until SIGINT or SIGTERM. What the device prints goes to stdout,\nthe log to stderr. 'virtio-misc qemu-args' prints the QEMU command line for it.\n\nDevices:\n${DEVICE_LIST}`,
    )
    .addHelpText('after', `\n${TIME_HELP}\n${SIZE_HELP}`)
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
    .addOption(
      new Option(
        '--keeper',
        'have processes of their own run the device, whose death its front-end does not notice',
      ).default(true),
    )
    .option('--no-keeper', 'run the device in this process, and in no other')
    .addOption(sparesOption())
    .addOption(stuckAfterOption())
    .option('--print-capabilities', 'print what the device is, as JSON, and stop')
    .addOption(setOption())
    .addOption(vectorsOption())
    .addOption(maxMemoryOption())
    .option('--no-watch', "do not reload a device's file when it is saved")
    .addOption(typeCheckOption())
    .option('--trace', 'log each chain: what the device read and wrote, and how long it took')
    .addOption(metricsOption())
    .addOption(recordOption())
    .addOption(recordBytesOption())
    .addOption(inspectOption())
    .addOption(inspectHostOption())
    .addOption(controlOption())
    .addOption(pollOption())
    .option('--restore <file>', "go on from what 'virtio-misc save' wrote of such a device")
    .option('--inband', 'vhost-user: offer kicks and interrupts as messages; not for QEMU')
    .addOption(featuresOption())
    .option('--quiet', 'do not show what the device prints')
    .addOption(
      new Option('--log <format>', 'of the log').choices(['auto', 'pretty', 'json']).default('auto'),
    );
  return addDeviceOptions(command).action(run);
}

async function run(name: string, options: ServeCommandOptions): Promise<void> {
  const worker =
    process.env[KEEPER_VARIABLE] === undefined
      ? undefined
      : await (await import('./serve-worker.js')).Worker.find();
  try {
    await runAs(worker, name, options);
  } catch (error) {
    worker?.failed((error as Error).message);
    throw error;
  }
}

async function runAs(worker: Worker | undefined, name: string, options: ServeCommandOptions): Promise<void> {
  if (options.printCapabilities) {
    const kind = await findDevice(name, options);
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
  checkKeeper(options);
  const { stderr } = takeOverStreams();
  await shareStreams();
  const line = worker && (await import('./console-line.js')).ConsoleLine.find();
  const log = makeLog(line ?? stderr, options.log, options.trace ? 'trace' : 'info');
  const desk = worker === undefined ? deskName() : undefined;
  if (desk !== undefined) {
    const { runDesk } = await import('./desk.js');
    await runDesk(desk, options, log);
  } else if (worker === undefined && options.keeper) await keep(name, sockets, options, log);
  else {
    const { serveDevice } = await import('./serve-device.js');
    await serveDevice(worker, name, sockets, options, log, line);
    await line?.end(FLUSH);
  }
}

/** Serves it in processes that may die. */
async function keep(
  name: string,
  sockets: Pick<ServeOptions, 'vhostUser' | 'vfioUser'>,
  options: ServeCommandOptions,
  log: Logger,
): Promise<void> {
  const { control, record, inspect, stuckAfter, spares } = options;
  checkRecording(options);
  checkInspect(options);
  const state = options.restore === undefined ? undefined : readState(options.restore);
  const { DeskChild } = await import('./desk-child.js');
  const desk = wantsDesk(options) ? await DeskChild.start(control?.includes('-') === true, log) : undefined;
  if (typeof desk === 'number') {
    // It said itself what is wrong.
    process.exitCode = desk;
    return;
  }
  try {
    const { serveKeeper } = await import('./serve-keeper.js');
    await serveKeeper(
      {
        ...sockets,
        stuckAfter,
        spares,
        reuse: record === undefined && inspect === undefined,
        desk,
        state,
        file: fileOf(name, options, desk),
      },
      log,
    );
  } finally {
    await desk?.close();
  }
}

/** The device's file, if it is one, and what is done for it. */
function fileOf(
  name: string,
  { watch, typeCheck }: ServeCommandOptions,
  desk: DeskChild | undefined,
): KeeperSettings['file'] {
  if (!isDeviceFile(name) || !existsSync(name)) return undefined;
  const attendance = { watch, typeCheck, reloaded: (result: ReloadResult) => desk?.reloaded(result) };
  return { path: realpathSync(name), attendance };
}

/** Where to serve vhost-user: a path, or a descriptor. */
function vhostUserPlace({ vhostUser, socketPath, fd }: ServeCommandOptions): string | number | undefined {
  const places = [vhostUser, socketPath, fd].filter((place) => place !== undefined);
  if (places.length > 1) throw new UsageError('--vhost-user, --socket-path and --fd: take one of them');
  const [place] = places;
  return typeof place === 'string' ? resolve(place) : place;
}

function descriptor(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('write the number of an open descriptor.');
  return Number(text);
}
