import type { Connection } from '../connections.js';
import { processLimiter } from '../lines/process-limiter.js';
import { type ServeOptions, serve } from '../serve.js';
import type { VirtioDevice } from '../virtio/device.js';
import { combineMonitors } from '../virtio/monitor.js';
import { StateError } from '../virtio/saved-state.js';
import { attendFile } from './attend-file.js';
import type { ConsoleLine } from './console-line.js';
import { ControlDesk } from './control-desk.js';
import { openControls } from './control-places.js';
import { findDevice } from './device-options.js';
import { takeErrands } from './errand-listener.js';
import { startInspector } from './inspect-option.js';
import type { LineContext, Logger } from './log.js';
import { endWithNpm } from './npm-parent.js';
import { startRecording } from './record-file.js';
import type { ServeCommandOptions } from './serve-options.js';
import type { Worker } from './serve-worker.js';
import { printTo, takeOverStreams } from './standard-streams.js';
import { notRestored, readState } from './state-file.js';
import { dieOf, isOrderly, stopSignal } from './stop-signal.js';
import { traceTo } from './trace.js';
import { UsageError } from './usage-error.js';

/**
 * Serves a device in this process, until told to stop.
 *
 * @param worker - where a keeper has started this process.
 * @param line - where it is one of `vm`.
 */
export async function serveDevice(
  worker: Worker | undefined,
  name: string,
  sockets: Pick<ServeOptions, 'vhostUser' | 'vfioUser'>,
  options: ServeCommandOptions,
  log: Logger,
  line?: ConsoleLine,
): Promise<void> {
  const { stdout } = takeOverStreams();
  const kind = await findDevice(name, options, worker?.given.code);
  const first = kind.make(options);
  const deviceName = first.name;
  const metrics = options.metrics === undefined ? undefined : new (await import('./metrics.js')).Metrics();
  // Not those of a connection: who connects again and again would start a new count each time.
  const comings = processLimiter<Connection>((line, connection) => log.info(connection, line));
  const troubles = processLimiter<Connection>((line, connection) => log.warn(connection, line));
  const traces = processLimiter<LineContext>((line, about) => log.trace(about, line));
  // A worker whose desk is gone records nothing: the file is not its own.
  const recording =
    worker !== undefined && worker.desk === undefined
      ? undefined
      : startRecording(options, (line) => log.warn(line), worker?.desk?.recording);
  const inspector = worker === undefined ? await startInspector(options, deviceName) : undefined;
  const stopped = worker === undefined ? stopSignal() : worker.ended;
  if (worker === undefined) endWithNpm();
  const restore = worker === undefined ? stateOf(options) : worker.given.state;
  const settings: ServeOptions = {
    ...sockets,
    ...(options.vectors !== undefined && { vectors: options.vectors }),
    ...(options.maxMemory !== undefined && { maxMemory: options.maxMemory }),
    ...(options.poll !== undefined && { poll: options.poll }),
    ...(restore !== undefined && { restore }),
    ...(options.inband && { inband: true }),
    ...(options.features !== undefined && { features: options.features }),
    print: options.quiet ? false : (line?.print(deviceName) ?? printTo(stdout)),
    warn: (line, about) => log.warn(about, line),
    connected: (_, connection) => {
      if (worker === undefined) comings.say('front-end connected', connection);
      else worker.desk?.serving(deviceName, connection);
    },
    gone: (_, error, connection) => {
      metrics?.gone(connection);
      if (worker !== undefined) worker.gone(connection.connection, error);
      else if (error === undefined) comings.say('front-end left', connection);
      else troubles.say(`front-end dropped: ${error.message}`, connection);
    },
    monitor: (device, connection) => {
      const about = line === undefined ? connection : { device: deviceName };
      const trace = options.trace ? traceTo(log, traces, about) : undefined;
      return combineMonitors([metrics?.monitor(device, connection), trace]);
    },
  };
  const make = (): VirtioDevice => kind.make(options);
  const server = await (worker ?? { serve }).serve(make, settings).catch((error: unknown) => {
    inspector?.close();
    throw error instanceof StateError ? notRestored(options.restore!, error.message) : error;
  });
  recording?.add(server);
  inspector?.add(server);
  if (options.inspect !== undefined) worker?.desk?.inspect(server, deviceName);
  // A worker that dies leaves all as it is, for the next one.
  if (worker === undefined) process.once('exit', () => server.close());
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
      // Of workers the keeper's process sees to it.
      watch: options.watch && worker === undefined,
      typeCheck: options.typeCheck && worker === undefined,
      reloaded: (result) => metrics?.reloaded(result),
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
  if (worker !== undefined) worker.ready(first, kind.file && { file: kind.file, log });
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

/** What `--restore` names. */
function stateOf({ restore }: ServeCommandOptions): Uint8Array | undefined {
  return restore === undefined ? undefined : readState(restore);
}

async function refuseUpgrade(): Promise<never> {
  throw new UsageError('the process has no keeper: serve without --no-keeper, or restart it');
}
