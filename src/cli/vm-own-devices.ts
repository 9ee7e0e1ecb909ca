import { join } from 'node:path';
import type { ReloadResult } from '../keeper/frames.js';
import { processLimiter } from '../lines/process-limiter.js';
import { type Server, serve } from '../serve.js';
import { combineMonitors } from '../virtio/monitor.js';
import { attendFile } from './attend-file.js';
import { openControls } from './control-places.js';
import type { DeviceKind } from './device-options.js';
import { startInspector } from './inspect-option.js';
import type { LineContext } from './log.js';
import { startRecording } from './record-file.js';
import { traceTo } from './trace.js';
import {
  type AttachedDevice,
  checkVectors,
  type DevicesHost,
  type GuestDevices,
  transportFor,
} from './vm-devices.js';

/** Serves a guest's devices in this process. */
export async function serveHere({
  devices,
  options,
  folder,
  log,
  print,
}: DevicesHost): Promise<GuestDevices> {
  const kinds: DeviceKind[] = [];
  for (const device of devices) kinds.push(await device.load());
  const attached = kinds.map((kind, index): AttachedDevice => {
    const device = kind.make(options);
    return { device, transport: transportFor(device, options), socket: join(folder, `${index}.sock`) };
  });
  checkVectors(
    attached.map(({ transport }) => transport),
    options,
  );
  const ends: (() => void)[] = [];
  const close = async (): Promise<void> => {
    for (const end of ends.splice(0)) end();
  };
  try {
    const traces = processLimiter<LineContext>((line, about) => log.trace(about, line));
    const metrics = options.metrics === undefined ? undefined : new (await import('./metrics.js')).Metrics();
    const recording = startRecording(options, (line) => log.warn(line));
    const page = await metrics?.listen(options.metrics!);
    if (page !== undefined) ends.push(() => page.close());
    const inspector = await startInspector(options, attached.map(({ device }) => device.name).join(', '));
    const servers: Server[] = [];
    for (const [index, { device, transport, socket }] of attached.entries()) {
      const kind = kinds[index]!;
      const server = await serve(() => kind.make(options), {
        ...(transport === 'vhost-user' ? { vhostUser: socket } : { vfioUser: socket }),
        ...(options.vectors !== undefined && { vectors: options.vectors }),
        ...(options.poll !== undefined && { poll: options.poll }),
        ...(options.features !== undefined && { features: options.features }),
        print: options.quiet ? false : print(device.name),
        warn: (line, about) => log.warn({ ...(about?.detail && { detail: about.detail }) }, line),
        monitor: (served, connection) => {
          const trace = options.trace ? traceTo(log, traces, { device: device.name }) : undefined;
          return combineMonitors([metrics?.monitor(served, connection), trace]);
        },
        gone: (_socket, _error, connection) => metrics?.gone(connection),
      });
      servers.push(server);
      recording?.add(server);
      inspector?.add(server);
      if (kind.file !== undefined) {
        const reloaded = (result: ReloadResult): void => metrics?.reloaded(result);
        const { typeCheck } = options;
        ends.unshift(attendFile(kind.file, server, log, { watch: true, typeCheck, reloaded }));
      }
      ends.push(() => server.close());
    }
    const controls = await openControls(options.control, servers);
    ends.push(
      () => recording?.close(),
      () => controls.close(),
      () => inspector?.close(),
      () => traces.flush(),
    );
    if (page !== undefined) log.info(`metrics at http://127.0.0.1:${page.port}/metrics`);
    if (inspector !== undefined) log.info(`inspector at ${inspector.url}`);
  } catch (error) {
    await close();
    throw error;
  }
  return { attached, close };
}
