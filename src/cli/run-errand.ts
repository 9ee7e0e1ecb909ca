import { readSync } from 'node:fs';
import { resolve } from 'node:path';
import { printable } from '../lines/printable.js';
import { closeFd } from '../linux/close-fd.js';
import type { LinuxOs } from '../linux/linux-os.js';
import type { UnixChannel } from '../linux/unix-channel.js';
import { peerOf } from '../linux/unix-socket.js';
import { linuxOs } from '../linux-only.js';
import { type Answer, type Errand, fileAt, nameOfProcess, nameOfSocket } from './errand.js';
import { UsageError } from './usage-error.js';

/** What was said of it, and what came with that. */
export interface Done {
  readonly said: string;
  readonly bytes: Uint8Array;
}

/**
 * Has a process do something.
 *
 * @param where - a socket that it serves a device at, or its number.
 * @param errand - what, for the socket's file, if one was named.
 * @throws UsageError when it is refused, or nobody is there.
 */
export async function runErrand(where: string, errand: (socket?: string) => Errand): Promise<Done> {
  const os = await linuxOs();
  try {
    const { channel, identity } = reach(os, where);
    return await new Promise<Done>((done, reject) => {
      const fail = (why: string): void => reject(new UsageError(why));
      let text = '';
      const got: number[] = [];
      const decoder = new TextDecoder();
      channel.receive({
        received: (bytes, fds) => {
          got.push(...fds);
          text += decoder.decode(bytes, { stream: true });
          const end = text.indexOf('\n');
          if (end < 0) return;
          channel.close();
          const answer = JSON.parse(text.slice(0, end)) as Answer;
          if ('refused' in answer) fail(printable(answer.refused));
          else
            done({
              said: answer.said.split('\n').map(printable).join('\n'),
              bytes: contents(got, answer.size),
            });
          for (const fd of got) closeFd(fd);
        },
        closed: () => fail(`${where}: the process ended before it answered`),
      });
      channel.send(new TextEncoder().encode(`${JSON.stringify(errand(identity))}\n`));
    });
  } finally {
    os.close();
  }
}

function reach(os: LinuxOs, where: string): { channel: UnixChannel; identity?: string } {
  const file = fileAt(resolve(where));
  const pid = file === undefined && /^\d{1,9}$/.test(where) ? Number(where) : undefined;
  if (file === undefined && pid === undefined)
    throw new UsageError(`there is no socket ${where}: name one that a device is served at, or the process`);
  let channel: UnixChannel;
  try {
    channel = os.connectAbstract(pid === undefined ? nameOfSocket(file!.identity) : nameOfProcess(pid));
  } catch {
    throw nobody(where);
  }
  const peer = peerOf(channel.fd);
  // Anybody can take a name.
  const itself =
    pid === undefined ? peer.uid === file!.uid || peer.uid === process.getuid!() : peer.pid === pid;
  if (!itself && peer.uid !== 0) {
    channel.close();
    throw nobody(where);
  }
  return { channel, ...(file !== undefined && { identity: file.identity }) };
}

function nobody(where: string): UsageError {
  return new UsageError(
    `${where}: no 'virtio-misc serve' can be asked there: it takes one of yours that runs, in the same network namespace`,
  );
}

function contents([fd]: readonly number[], size = 0): Uint8Array {
  const bytes = new Uint8Array(fd === undefined ? 0 : size);
  for (let at = 0; at < bytes.length; ) {
    const read = readSync(fd!, bytes, at, bytes.length - at, at);
    if (read === 0) throw new UsageError('less came than was said');
    at += read;
  }
  return bytes;
}
