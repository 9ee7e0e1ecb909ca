import assert from 'node:assert/strict';
import { createServer, type Server, type Socket } from 'node:net';
import { connect, setsockopt, socket, write } from '../../src/linux/libc.js';
import type { LinuxOs } from '../../src/linux/linux-os.js';
import { NativeBuffer } from '../../src/linux/native-buffer.js';
import { setNonBlocking } from '../../src/linux/non-blocking.js';
import type { Channel } from '../../src/transports/ports.js';

const AF_INET = 2;
const SOCK_STREAM = 1;
const SOL_SOCKET = 1;
const SO_LINGER = 13;
/** Longer than any test may take. */
const SECONDS = 3600;

/** A TCP socket whose last `close` waits, for somebody who never reads. The descriptor is the caller's. */
export class Lingering {
  readonly fd: number;
  readonly #server: Server;
  readonly #accepted: Socket[];

  private constructor(fd: number, server: Server, accepted: Socket[]) {
    this.fd = fd;
    this.#server = server;
    this.#accepted = accepted;
  }

  static async open(): Promise<Lingering> {
    const accepted: Socket[] = [];
    const server = createServer({ pauseOnConnect: true }, (each) => {
      // It is reset, once nobody waits for its bytes any more.
      each.on('error', () => {});
      accepted.push(each);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const fd = socket(AF_INET, SOCK_STREAM, 0);
    const address = new NativeBuffer(16);
    address.bytes.set([AF_INET, 0, port >> 8, port & 255, 127, 0, 0, 1]);
    assert.equal(connect(fd, address.address, 16), 0);
    while (accepted.length === 0) await new Promise(setImmediate);
    setNonBlocking(fd);
    const bytes = new NativeBuffer(1 << 20);
    while (write(fd, bytes.address, bytes.bytes.length) > 0);
    const linger = new NativeBuffer(8);
    linger.data.setInt32(0, 1, true);
    linger.data.setInt32(4, SECONDS, true);
    assert.equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, linger.address, 8), 0);
    return new Lingering(fd, server, accepted);
  }

  /** Ends the wait. */
  letGo(): void {
    this.#server.close();
    for (const each of this.#accepted) each.resetAndDestroy();
  }
}

/** A socket in which the other waits that nobody read: it is closed with it. */
export function wrapped(os: LinuxOs, fd: number): { readonly channel: Channel; readonly fd: number } {
  const pair = os.createChannel();
  pair.channel.send(Uint8Array.of(0), [fd]);
  return pair;
}
