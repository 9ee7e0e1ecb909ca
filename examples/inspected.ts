// The devices of the demo with drivers that go on and on, and the inspector's page to look at them, until Ctrl-C.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import {
  connectVfioUser,
  connectVhostUser,
  MiscDriver,
  openInspector,
  type ServeOptions,
  serve,
  TestDriver,
  virtioMisc,
  virtioTest,
} from '../src/index.js';

/** Requests that are under way at most, of the busy driver. */
const UNDER_WAY = 24;

/**
 * Serves an echo, one with a packed ring, and timers; and drives them.
 *
 * @param port - of the page; 0 for any.
 * @param stop - ends it.
 */
export async function inspected(port: number, stop: AbortSignal): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-demo-'));
  const inspector = await openInspector({ port, title: 'demo' });
  const quiet: ServeOptions = { print: false, signal: stop };
  try {
    const [echo, packed, timers] = ['echo', 'packed', 'timers'].map((name) => join(folder, `${name}.sock`));
    const features = { packed: true };
    for (const server of await Promise.all([
      serve(virtioTest(), { ...quiet, vhostUser: echo! }),
      serve(virtioTest(), { ...quiet, vhostUser: packed!, features }),
      serve(virtioMisc(), { ...quiet, vfioUser: timers! }),
    ]))
      inspector.add(server);
    console.log(`inspector at ${inspector.url}`);
    await Promise.all([
      echoing(await TestDriver.open(await connectVhostUser(echo!)), UNDER_WAY, stop),
      echoing(await TestDriver.open(await connectVhostUser(packed!)), 4, stop),
      timing(await MiscDriver.open(await connectVfioUser(timers!)), stop),
    ]);
  } finally {
    inspector.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Sends requests in waves: now many, now few. */
async function echoing(driver: TestDriver, underWay: number, stop: AbortSignal): Promise<void> {
  const sending = Array.from({ length: underWay }, async (_, lane) => {
    for (let number = lane; !stop.aborted; number += underWay) {
      await driver.write(number % 1000);
      const wave = 1 + Math.sin(performance.now() / 4000);
      await pause(2 + 20 * wave * Math.random());
    }
  });
  await ended(sending, driver, stop);
}

/** Sets timers, and takes some of them back. */
async function timing(driver: MiscDriver, stop: AbortSignal): Promise<void> {
  const setting = async (): Promise<void> => {
    while (!stop.aborted) {
      const timer = await driver.setTimer(50 + Math.floor(950 * Math.random()), () => {}, undefined);
      await pause(30 + 100 * Math.random());
      if (Math.random() < 0.2) await timer.cancel();
    }
  };
  await ended([setting()], driver, stop);
}

/** Until it is told to stop, or something goes wrong. */
async function ended(
  work: Promise<void>[],
  driver: { close(): Promise<void> },
  stop: AbortSignal,
): Promise<void> {
  try {
    await Promise.all(work);
  } catch (error) {
    if (!stop.aborted) throw error;
  } finally {
    await driver.close().catch(() => {});
  }
}
