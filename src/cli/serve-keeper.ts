import { setTimeout as sleep } from 'node:timers/promises';
import { Keeper, placesOf } from '../keeper/keeper/keeper.js';
import type { KeeperContext } from '../keeper/keeper/place.js';
import { processLimiter } from '../lines/process-limiter.js';
import { linuxOs } from '../linux-only.js';
import type { Attendance } from './attend-file.js';
import { attendKeptFile } from './attend-kept-file.js';
import type { DeskChild } from './desk-child.js';
import { takeErrands } from './errand-listener.js';
import type { Logger } from './log.js';
import { endWithNpm } from './npm-parent.js';
import { programAsStarted, programNow } from './program-now.js';
import { dieOf, isOrderly, stopSignal } from './stop-signal.js';

/** How long workers may take to end, ms. */
const LAST_WORDS = 1000;

/** What `serve` was told of its processes. */
export interface KeeperSettings {
  readonly vhostUser?: string | number;
  readonly vfioUser?: string;
  /** ms. */
  readonly stuckAfter?: number | undefined;
  /** How many processes are kept ready. */
  readonly spares?: number | undefined;
  /** Whether a process may serve one front-end after the other. */
  readonly reuse: boolean;
  /** What counts, records and is asked for all processes. */
  readonly desk?: DeskChild | undefined;
  /** What the first device goes on from that a driver starts. */
  readonly state?: Uint8Array | undefined;
  /** The device's file, and what is done for it. */
  readonly file?: { readonly path: string; readonly attendance: Attendance } | undefined;
}

/** Keeps sockets and connections, and has this program, started anew with the same arguments, serve the device: until told to stop. */
export async function serveKeeper(settings: KeeperSettings, log: Logger): Promise<void> {
  const { vhostUser, vfioUser, stuckAfter, spares, desk, state, file } = settings;
  const lines = processLimiter<KeeperContext>((line, about) => log.info(about, line));
  const troubles = processLimiter<KeeperContext>((line, about) => log.warn(about, line));
  const stopped = stopSignal(['SIGUSR2']);
  endWithNpm();
  const os = await linuxOs();
  const keeper = new Keeper({
    os,
    places: placesOf(settings),
    worker: programAsStarted(),
    spares,
    state,
    reuse: settings.reuse,
    stuckAfter,
    info: (line, about) => lines.say(line, about),
    warn: (line, about) => troubles.say(line, about),
    left: (connection) => desk?.left(connection),
  });
  const close = (): void => {
    keeper.close();
    os.close();
  };
  process.once('exit', () => keeper.close());
  const first = await Promise.race([keeper.start(), stopped]).catch((error: unknown) => {
    close();
    throw error;
  });
  if (typeof first === 'string') {
    close();
    log.info(`stopping on ${first}`);
    if (!isOrderly(first)) await dieOf(first);
    return;
  }
  if ('words' in first) {
    // It said itself what is wrong.
    close();
    process.exitCode = first.code === null || first.code === 0 ? 1 : first.code;
    return;
  }
  for (const socket of [vhostUser, vfioUser])
    if (socket !== undefined) log.info({ socket }, `serving ${first.name}`);
  for (const line of desk?.lines ?? []) log.info(line);
  const leaveFile = file && attendKeptFile(file.path, keeper, log, file.attendance);
  const upgrade = async (): Promise<string> => {
    try {
      const gaps = await keeper.upgrade(programNow());
      for (const { socket, gap } of gaps)
        log.info({ socket }, `upgraded; nobody served the front-end for ${ms(gap)}`);
      if (gaps.length === 0) log.info('upgraded');
      return gaps.length === 0
        ? 'upgraded: no front-end is there'
        : gaps.map(({ socket, gap }) => `upgraded: nobody served ${socket} for ${ms(gap)}`).join('\n');
    } catch (error) {
      throw new Error(`not upgraded, the old program goes on: ${(error as Error).message}`);
    }
  };
  process.on('SIGUSR2', () => void upgrade().catch((error: Error) => log.error(error.message)));
  const errands = await takeErrands([vhostUser, vfioUser], {
    save: ({ socket, standing = false }) => keeper.save(socket, standing),
    upgrade,
  });
  const signal = await Promise.race([stopped, keeper.finished]);
  log.info(signal === undefined ? 'stopping: the only front-end left' : `stopping on ${signal}`);
  leaveFile?.();
  errands.close();
  close();
  // They die with this process: what they have still to say comes first.
  await Promise.race([keeper.gone, sleep(LAST_WORDS)]);
  for (const limiter of [lines, troubles]) limiter.flush();
  if (signal !== undefined && !isOrderly(signal)) await dieOf(signal);
}

function ms(gap: number): string {
  return `${gap.toFixed(1)} ms`;
}
