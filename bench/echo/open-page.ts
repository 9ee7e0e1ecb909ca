import { get, type IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { BenchError, type Started } from '../harness/bench.js';

/** ms to wait for the address, and between two looks. */
const PATIENCE = 60_000;
const LOOK = 20;

/**
 * Opens the page that a process serves with `--inspect`, and reads all that it is told, as a browser would.
 *
 * @returns bytes that were read so far.
 */
export async function openPage(by: Started): Promise<() => number> {
  const url = await address(by);
  const { headers } = await answer(url, {});
  const cookie = headers['set-cookie']?.[0]?.split(';')[0];
  if (cookie === undefined) throw new BenchError('the inspector lets nobody in');
  const events = await answer(new URL('/api/events', url).href, { cookie });
  let bytes = 0;
  events.on('data', (piece: Buffer) => {
    bytes += piece.length;
  });
  // The process is stopped before the page.
  events.on('error', () => {});
  return () => bytes;
}

async function address(by: Started): Promise<string> {
  for (let waited = 0; waited < PATIENCE; waited += LOOK) {
    const url = /http:\/\/[^\s"]*token=[\w-]+/.exec(by.said())?.[0];
    if (url !== undefined) return url;
    await sleep(LOOK);
  }
  throw new BenchError('the address of the inspector did not come');
}

function answer(url: string, headers: Record<string, string>): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    get(url, { headers, agent: false }, resolve).on('error', reject);
  });
}
