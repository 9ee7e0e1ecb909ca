import { realpathSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { FileServer } from '../file-server.js';
import type { KeeperContext } from '../keeper/keeper/place.js';
import { processLimiter } from '../lines/process-limiter.js';
import { serveByWorkers } from '../serve-by-workers.js';
import { ConsolePipe } from '../vm/console.js';
import { ringArgs, workerCommand } from '../worker-command.js';
import { consoleVariable, saidIn } from './console-line.js';
import type { Desk } from './desk.js';
import { DESK_VARIABLE, newDeskName, wantsDesk } from './desk-frames.js';
import { type NamedDevice, writtenOptions } from './device-options.js';
import type { Logger } from './log.js';
import { checkRecording, RECORD_BYTES } from './record-options.js';
import {
  type AttachedDevice,
  checkVectors,
  type DevicesHost,
  type GuestDevices,
  transportFor,
} from './vm-devices.js';
import type { VmOptions } from './vm-options.js';

/** Serves a guest's devices in processes that may die: this one is their keeper, counts, records and is asked for them, and shows what they say. */
export async function serveKept(host: DevicesHost): Promise<GuestDevices> {
  const { devices, options, folder, log } = host;
  checkRecording(options);
  const console = new ConsolePipe({ folder, inserted: (bytes) => show(bytes, host) });
  const leave: (() => void)[] = [];
  const servers: FileServer[] = [];
  let desk: Desk | undefined;
  const close = async (): Promise<void> => {
    for (const end of leave) end();
    await Promise.all(servers.map((server) => server[Symbol.asyncDispose]()));
    await desk?.close();
    // What they said last is there.
    console.close();
  };
  try {
    const name = newDeskName();
    if (wantsDesk(options)) desk = await (await import('./desk.js')).Desk.open(name, options, log);
    const env = {
      ...consoleVariable(console.path, console.mark),
      ...(desk !== undefined && { [DESK_VARIABLE]: name }),
    };
    const troubles = processLimiter<KeeperContext>((line) => log.warn(line));
    leave.push(() => troubles.flush());
    const serveOne = async (named: NamedDevice, index: number): Promise<AttachedDevice> => {
      const socket = join(folder, `${index}.sock`);
      const shipped = named.isFile ? undefined : (await named.load()).make(options);
      const known = options.transport ?? (shipped && transportFor(shipped, options));
      let transport = known!;
      let { name } = named;
      let serving: number | undefined;
      const { server, device, pid, keeper } = await serveByWorkers({
        command: {
          ...workerCommand(named.name, workerArgs(named, socket, known, options)),
          env,
          said: (text) => void process.stderr.write(text),
        },
        places: (ready) => {
          ({ name } = ready);
          transport = transportFor(ready.device!, options);
          return [{ place: socket, transport }];
        },
        stuckAfter: options.stuckAfter,
        spares: options.spares,
        warn: (line, about) => troubles.say(`${name}: ${line}`, about),
        serves: (pid) => {
          if (serving !== undefined && serving !== pid) log.info(`${name}: process ${pid} goes on`);
          serving = pid;
        },
        left: (connection) => desk?.left(connection),
      });
      servers.push(server);
      if (named.isFile) {
        const { attendKeptFile } = await import('./attend-kept-file.js');
        leave.push(
          attendKeptFile(realpathSync(named.name), keeper, log, {
            watch: true,
            typeCheck: options.typeCheck,
            reloaded: (result) => desk?.reloaded(result),
          }),
        );
      }
      return { device, transport, socket, pid };
    };
    const started = await Promise.allSettled(devices.map(serveOne));
    const failed = started.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    const attached = started.flatMap((result) => (result.status === 'fulfilled' ? result.value : []));
    checkVectors(
      attached.map(({ transport }) => transport),
      options,
    );
    return { attached, console, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** What `serve` is told in a worker. */
function workerArgs(
  named: NamedDevice,
  socket: string,
  transport: AttachedDevice['transport'] | undefined,
  options: VmOptions,
): string[] {
  const { trace, quiet, metrics, record, recordBytes = RECORD_BYTES, inspect } = options;
  const [, ...own] = writtenOptions(named, options);
  return [
    ...own,
    // One of a file is known when it is loaded.
    ...(transport === 'vfio-user' ? [] : ['--vhost-user', socket]),
    ...(transport === 'vhost-user' ? [] : ['--vfio-user', socket]),
    ...ringArgs(transport === 'vhost-user' ? { ...options, vectors: undefined } : options),
    ...(trace ? ['--trace'] : []),
    ...(quiet ? ['--quiet'] : []),
    ...(metrics === undefined ? [] : ['--metrics', '0']),
    ...(inspect === undefined ? [] : ['--inspect']),
    ...(record === undefined ? [] : ['--record', resolve(record), '--record-bytes', `${recordBytes >> 10}K`]),
  ];
}

/** Shows what a worker says, as if it were said here. */
function show(bytes: Buffer, { log, print }: DevicesHost): void {
  const said = saidIn(bytes);
  switch (said?.what) {
    case 'line': {
      const shown = print(said.device);
      if (shown.full?.() !== true) shown(said.text);
      return;
    }
    case 'log':
      logAgain(said.text, log);
      return;
    case 'out':
      process.stdout.write(said.text);
      return;
    case 'err':
      process.stderr.write(said.text);
  }
}

const LEVELS = { 10: 'trace', 30: 'info', 40: 'warn', 50: 'error' } as const;

function logAgain(line: string, log: Logger): void {
  const { level, msg, time, socket, transport, connection, ...about } = JSON.parse(line) as {
    level: keyof typeof LEVELS;
    msg: string;
  } & Record<string, unknown>;
  log[LEVELS[level] ?? 'info'](about, msg);
}
