import { closeFd } from '../linux/close-fd.js';
import { closeStranger } from '../linux/close-stranger.js';
import type { LinuxOs } from '../linux/linux-os.js';
import type { UnixChannel } from '../linux/unix-channel.js';
import type { UnixListener } from '../linux/unix-listener.js';
import { peerOf } from '../linux/unix-socket.js';
import { linuxOs } from '../linux-only.js';
import type { SaveOptions } from '../serve.js';
import { type Answer, type Errand, fileAt, nameOfProcess, nameOfSocket } from './errand.js';

/** Characters of one request; nobody has more to say. */
const LONGEST = 64 * 1024;

/** Who does what this process is asked. */
export interface Errands {
  /** Resolves with the state, or a descriptor of memory with so many bytes. Rejects with one line that says what to do instead. */
  save(what: SaveOptions): Promise<Uint8Array | { readonly fd: number; readonly size: number }>;
  /** Resolves with what is to be said, and rejects likewise. */
  upgrade(): Promise<string>;
}

/**
 * Does what this user asks of this process, until it is closed.
 *
 * @param sockets - at which it listens: their paths, or descriptors.
 */
export async function takeErrands(
  sockets: readonly (string | number | undefined)[],
  errands: Errands,
): Promise<{ close(): void }> {
  const os = await linuxOs();
  const open: UnixListener[] = [];
  const places = new Map<string, string>();
  for (const socket of sockets) {
    const identity = typeof socket === 'string' ? fileAt(socket)?.identity : undefined;
    if (identity !== undefined) places.set(identity, socket as string);
  }
  const close = (): void => {
    for (const listener of open.splice(0)) listener.close();
    os.close();
  };
  for (const name of [nameOfProcess(process.pid), ...[...places.keys()].map(nameOfSocket)]) {
    try {
      const listener = os.listenAbstract(name);
      open.push(listener);
      listener.accept({
        accepted: (channel) => attend(channel, (errand) => carryOut(os, errand, places, errands)),
        failed: () => {},
      });
    } catch {
      // Somebody has the name, which anybody may take: the device is served all the same.
    }
  }
  process.once('exit', close);
  return { close };
}

/** Hears one who connected, if it is this user. */
function attend(channel: UnixChannel, carry: (errand: Errand) => Promise<Reply>): void {
  const { uid } = peerOf(channel.fd);
  if (uid !== process.getuid!() && uid !== 0) {
    channel.close();
    return;
  }
  let text = '';
  const decoder = new TextDecoder();
  channel.receive({
    received: (bytes, fds) => {
      for (const fd of fds) closeStranger(fd);
      text += decoder.decode(bytes, { stream: true });
      const lines = text.split('\n');
      text = lines.pop()!;
      if (text.length > LONGEST) channel.close();
      for (const line of lines) void carry(parse(line)).then((reply) => answer(channel, reply));
    },
    closed: () => {},
  });
}

interface Reply {
  readonly answer: Answer;
  readonly fd?: number;
}

function answer(channel: UnixChannel, { answer: what, fd }: Reply): void {
  channel.send(new TextEncoder().encode(`${JSON.stringify(what)}\n`), fd === undefined ? [] : [fd]);
  if (fd !== undefined) closeFd(fd);
}

function parse(line: string): Errand {
  try {
    return (JSON.parse(line) ?? {}) as Errand;
  } catch {
    return {} as Errand;
  }
}

async function carryOut(
  os: LinuxOs,
  errand: Errand,
  places: ReadonlyMap<string, string>,
  errands: Errands,
): Promise<Reply> {
  try {
    if (errand.do === 'upgrade') return { answer: { said: await errands.upgrade() } };
    if (errand.do !== 'save') return { answer: { refused: 'this version does not know how' } };
    const socket = places.get(String(errand.socket));
    const state = await errands.save({
      ...(socket !== undefined && { socket }),
      standing: errand.standing === true,
    });
    const { fd, size } = state instanceof Uint8Array ? inMemory(os, state) : state;
    return { answer: { said: `saved: ${size} bytes`, size }, fd };
  } catch (error) {
    return { answer: { refused: error instanceof Error ? error.message : String(error) } };
  }
}

/** Bytes in memory of which a descriptor can be handed on. @returns it, the caller's. */
export function inMemory(os: LinuxOs, bytes: Uint8Array): { fd: number; size: number } {
  const size = bytes.length;
  const { fd, mapping } = os.createMemory('virtio-misc-state', size);
  mapping.view.copyIn(0, bytes, 0, size);
  mapping.release();
  return { fd, size };
}
