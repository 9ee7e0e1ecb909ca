import { resolve } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import type { Connection } from '../connections.js';
import { processLimiter } from '../lines/process-limiter.js';
import { type ServeOptions, serve } from '../serve.js';
import type { VirtioDevice } from '../virtio/device.js';
import { combineMonitors, type Monitor } from '../virtio/monitor.js';
import type { RingFeatures } from '../virtio/ring-features.js';
import { StateError } from '../virtio/saved-state.js';
import { attendFile, attendTypes, typeCheckOption } from './attend-file.js';
import { capabilities } from './capabilities.js';
import { ControlDesk } from './control-desk.js';
import { controlOption, openControls } from './control-places.js';
import { deskName, runDesk } from './desk.js';
import { DeskChild } from './desk-child.js';
import {
  addDeviceOptions,
  DEVICE_LIST,
  type DeviceOptions,
  findDevice,
  type Settings,
  setOption,
  vectorsOption,
} from './device-options.js';
import { duration, TIME_HELP } from './duration.js';
import { takeErrands } from './errand-listener.js';
import { featuresOption } from './features-option.js';
import { type InspectOptions, inspectHostOption, inspectOption, startInspector } from './inspect-option.js';
import { type LineContext, type Logger, makeLog } from './log.js';
import { maxMemoryOption, SIZE_HELP } from './memory-size.js';
import { Metrics, metricsOption } from './metrics.js';
import { endWithNpm } from './npm-parent.js';
import { pollOption } from './poll-option.js';
import {
  checkRecording,
  type RecordOptions,
  recordBytesOption,
  recordOption,
  startRecording,
} from './record-file.js';
import { serveKeeper } from './serve-keeper.js';
import { Worker } from './serve-worker.js';
import { printTo, takeOverStreams } from './standard-streams.js';
import { notRestored, readState } from './state-file.js';
import { dieOf, isOrderly, stopSignal } from './stop-signal.js';
import { traceTo } from './trace.js';
import { UsageError } from './usage-error.js';

interface Options extends DeviceOptions, RecordOptions, InspectOptions {
  readonly set?: Settings;
  readonly vhostUser?: string;
  readonly vfioUser?: string;
  readonly socketPath?: string;
  readonly fd?: number;
  readonly printCapabilities?: boolean;
  readonly vectors?: number;
  readonly maxMemory?: number;
  readonly control?: readonly string[];
  readonly quiet?: boolean;
  readonly poll?: boolean | number;
  readonly restore?: string;
  readonly inband?: boolean;
  readonly features?: RingFeatures;
  readonly keeper?: boolean;
  readonly stuckAfter?: number;
  readonly watch: boolean;
  readonly typeCheck: boolean;
  readonly trace?: boolean;
  readonly metrics?: number;
  readonly log: 'auto' | 'pretty' | 'json';
}

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
    .option(
      '--keeper',
      'have processes of their own run the device, whose death its front-end does not notice',
    )
    .addOption(
      new Option(
        '--stuck-after <time>',
        'with --keeper: a process that does not come back from the device for so long is ended, and another goes on',
      ).argParser(duration),
    )
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

async function run(name: string, options: Options): Promise<void> {
  const worker = await Worker.find();
  try {
    await runWith(worker, name, options);
  } catch (error) {
    worker?.failed((error as Error).message);
    throw error;
  }
}

async function runWith(worker: Worker | undefined, name: string, options: Options): Promise<void> {
  const { stdout, stderr } = takeOverStreams();
  const desk = worker === undefined ? deskName() : undefined;
  // Where a keeper is, its workers alone load the device.
  const keeper = options.keeper === true && worker === undefined && options.printCapabilities !== true;
  const kind = keeper || desk !== undefined ? undefined : await findDevice(name, options);
  if (options.printCapabilities) {
    console.log(JSON.stringify(capabilities(kind!.make(options))));
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
  if (options.stuckAfter !== undefined && options.keeper !== true)
    throw new UsageError('--stuck-after needs --keeper');
  const log = makeLog(stderr, options.log, options.trace ? 'trace' : 'info');
  if (desk !== undefined) {
    await runDesk(desk, options, log);
    return;
  }
  if (kind === undefined) {
    await keep(name, sockets, options, log);
    return;
  }
  const first = kind.make(options);
  const deviceName = first.name;
  const metrics = options.metrics === undefined ? undefined : new Metrics();
  // Not those of a connection: who connects again and again would start a new count each time.
  const comings = processLimiter<Connection>((line, connection) => log.info(connection, line));
  const troubles = processLimiter<Connection>((line, connection) => log.warn(connection, line));
  const traces = processLimiter<LineContext>((line, about) => log.trace(about, line));
  // A worker whose desk is gone records nothing: the file is not its own.
  const recording =
    worker !== undefined && worker.desk === undefined
      ? undefined
      : startRecording(options, (line) => log.warn(line), worker?.desk?.recording);
  const inspector = await startInspector(options, () => kind.make(options).name);
  const stopped = worker === undefined ? stopSignal() : worker.ended;
  if (worker === undefined) endWithNpm();
  const settings: ServeOptions = {
    ...sockets,
    ...(options.vectors !== undefined && { vectors: options.vectors }),
    ...(options.maxMemory !== undefined && { maxMemory: options.maxMemory }),
    ...(options.poll !== undefined && { poll: options.poll }),
    ...(options.restore !== undefined && { restore: readState(options.restore) }),
    ...(options.inband && { inband: true }),
    ...(options.features !== undefined && { features: options.features }),
    print: options.quiet ? false : printTo(stdout),
    warn: (line, about) => log.warn(about, line),
    connected: (_, connection) => {
      if (worker === undefined) comings.say('front-end connected', connection);
      else worker.desk?.serving(deviceName, connection);
    },
    gone: (_, error, connection) => {
      metrics?.gone(connection);
      if (worker !== undefined) worker.gone(error);
      else if (error === undefined) comings.say('front-end left', connection);
      else troubles.say(`front-end dropped: ${error.message}`, connection);
    },
    monitor: (device, connection) => {
      const monitors: Monitor[] = [];
      if (metrics !== undefined) monitors.push(metrics.monitor(device, connection));
      if (options.trace) monitors.push(traceTo(log, traces, connection));
      return monitors.length > 0 ? combineMonitors(monitors) : undefined;
    },
  };
  const make = (): VirtioDevice => kind.make(options);
  const server = await (worker ?? { serve }).serve(make, settings).catch((error: unknown) => {
    inspector?.close();
    throw error instanceof StateError ? notRestored(options.restore!, error.message) : error;
  });
  recording?.add(server);
  inspector?.add(server);
  process.once('exit', () => server.close());
  const page =
    worker === undefined
      ? await metrics?.listen(options.metrics!).catch((error: unknown) => {
          server.close();
          throw error;
        })
      : undefined;
  if (metrics !== undefined) worker?.desk?.count(metrics);
  const leaveFile =
    kind.file &&
    attendFile(kind.file, server, log, {
      watch: options.watch,
      // One of many workers would say the same as the last.
      typeCheck: options.typeCheck && worker === undefined,
      reloaded: (result) => {
        if (worker === undefined) metrics?.reloaded(result);
        else if (server.devices.length > 0) worker.desk?.reloaded(result);
      },
    });
  worker?.desk?.answer(new ControlDesk(() => server.devices));
  const places = worker === undefined ? options.control : [];
  const controls = await openControls(places, [server]).catch((error: unknown) => {
    server.close();
    throw error;
  });
  const errands =
    worker === undefined
      ? await takeErrands(Object.values(sockets), {
          save: (what) => server.save(what),
          upgrade: refuseUpgrade,
        })
      : undefined;
  if (worker !== undefined) worker.ready(first);
  else for (const socket of Object.values(sockets)) log.info({ socket }, `serving ${deviceName}`);
  if (page !== undefined) log.info(`metrics at http://127.0.0.1:${page.port}/metrics`);
  if (inspector !== undefined) log.info(`inspector at ${inspector.url}`);
  const signal = (await Promise.race([stopped, server.finished])) ?? undefined;
  if (worker === undefined)
    log.info(signal === undefined ? 'stopping: the only front-end left' : `stopping on ${signal}`);
  leaveFile?.();
  controls.close();
  errands?.close();
  server.close();
  recording?.close();
  worker?.close();
  page?.close();
  inspector?.close();
  for (const limiter of [comings, troubles, traces]) limiter.flush();
  if (signal !== undefined && !isOrderly(signal)) await dieOf(signal);
}

async function refuseUpgrade(): Promise<never> {
  throw new UsageError('the process has no keeper: serve with --keeper, or restart it');
}

/** Serves it in processes that may die. */
async function keep(
  name: string,
  sockets: Pick<ServeOptions, 'vhostUser' | 'vfioUser'>,
  options: Options,
  log: Logger,
): Promise<void> {
  const { metrics, control, record, inspect, stuckAfter } = options;
  if (inspect !== undefined) throw new UsageError('--inspect looks into this process: leave out --keeper');
  checkRecording(options);
  const wanted = metrics !== undefined || control !== undefined || record !== undefined;
  const desk = wanted ? await DeskChild.start(control?.includes('-') === true, log) : undefined;
  if (typeof desk === 'number') {
    // It said itself what is wrong.
    process.exitCode = desk;
    return;
  }
  // Once, and not in each process.
  const leaveTypes =
    options.typeCheck && /\.m?ts$/.test(name) ? attendTypes(resolve(name), log, options.watch) : undefined;
  try {
    await serveKeeper({ ...sockets, stuckAfter, desk }, log);
  } finally {
    leaveTypes?.();
    await desk?.close();
  }
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
