import assert from 'node:assert/strict';
import { closeSync, constants, mkdtempSync, openSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { closeFd } from '../../../src/linux/close-fd.js';
import { LinuxOs } from '../../../src/linux/linux-os.js';
import { openPipe } from '../../../src/linux/testing/open-pipe.js';
import { settled } from '../../../src/linux/testing/settled.js';
import { ProbeDevice as PciProbe } from '../../../src/transports/pci/testing/probe-device.js';
import type { StartSession } from '../../../src/transports/session.js';
import { serveVfioUser } from '../../../src/transports/vfio-user/device/server.js';
import { encodeMessage as encodeVfio } from '../../../src/transports/vfio-user/framing.js';
import { VFIO_USER_VERSION } from '../../../src/transports/vfio-user/messages.js';
import { anyPayload as vfioPayload } from '../../../src/transports/vfio-user/testing/rude-client.js';
import { encodeVersion } from '../../../src/transports/vfio-user/version.js';
import { encodeMessage as encodeVhost } from '../../../src/transports/vhost-user/codec.js';
import { serveVhostUser } from '../../../src/transports/vhost-user/device/backend.js';
import { FLAGS } from '../../../src/transports/vhost-user/messages.js';
import { ProbeDevice } from '../../../src/transports/vhost-user/testing/probe-device.js';
import {
  honestFds,
  anyPayload as vhostPayload,
} from '../../../src/transports/vhost-user/testing/rude-frontend.js';
import type { VirtioDevice } from '../../../src/virtio/device.js';
import { asyncTarget, type Target } from '../target.js';

/** Whatever a process can have open. */
const KINDS = ['memory', 'event', 'socket', 'null', 'file', 'folder', 'pipe'] as const;
type Kind = (typeof KINDS)[number];

interface Send {
  readonly bytes: Uint8Array;
  readonly kinds: readonly Kind[];
}

const kinds = fc.array(fc.constantFrom(...KINDS), { maxLength: 4 });
/** Mostly what an honest peer sends along with such a message: then it gets further. */
const kindsFor = (honest: number, first: Kind): fc.Arbitrary<readonly Kind[]> =>
  fc.oneof({ weight: 5, arbitrary: fc.constant(new Array<Kind>(Math.min(honest, 4)).fill(first)) }, kinds);
const noise: fc.Arbitrary<Send> = fc.record({ bytes: fc.uint8Array({ minLength: 1, maxLength: 60 }), kinds });

const vhost: fc.Arbitrary<Send> = fc
  .tuple(vhostPayload, fc.constantFrom(0, 0, FLAGS.NEED_REPLY))
  .chain(([[request, payload], flags]) => {
    const bytes = encodeVhost(request, flags, payload);
    return kindsFor(honestFds(request, payload), payload.length === 8 ? 'event' : 'memory').map((with_) => ({
      bytes,
      kinds: with_,
    }));
  });
const vfio: fc.Arbitrary<Send> = fc
  .tuple(vfioPayload, fc.nat(0xffff), fc.constantFrom(0, 0, 0x10))
  .chain(([[command, payload], id, flags]) => {
    const bytes = encodeVfio(id, command, flags, [payload]);
    return kindsFor(command === 2 || command === 8 ? 1 : 0, command === 2 ? 'memory' : 'event').map(
      (with_) => ({
        bytes,
        kinds: with_,
      }),
    );
  });

const MEMORY = 1 << 20;
/** What was sent is closed by a thread, which may take its time; that long it never takes. */
const CLOSED = 20_000;

let os: LinuxOs | undefined;

function open(kind: Kind, os: LinuxOs, folder: string): { readonly fd: number; close(): void } {
  const file = (path: string, flags: number) => {
    const fd = openSync(path, flags);
    return { fd, close: () => closeSync(fd) };
  };
  switch (kind) {
    case 'memory': {
      const { fd, mapping } = os.createMemory('fuzz', MEMORY);
      mapping.release();
      return { fd, close: () => closeFd(fd) };
    }
    case 'event': {
      const event = os.createEvent();
      return { fd: event.fd, close: () => event.close() };
    }
    case 'socket': {
      const { channel, fd } = os.createChannel();
      return {
        fd,
        close() {
          closeFd(fd);
          channel.close();
        },
      };
    }
    case 'null':
      return file('/dev/null', constants.O_RDWR);
    case 'file':
      return file(join(folder, 'file'), constants.O_RDWR);
    case 'folder':
      return file(folder, constants.O_RDONLY | constants.O_DIRECTORY);
    case 'pipe': {
      const [from, into] = openPipe();
      return {
        fd: into,
        close() {
          closeFd(from);
          closeFd(into);
        },
      };
    }
  }
}

const openDescriptors = (): number => readdirSync('/proc/self/fd').length;

/** One connection over a real socket, with real descriptors: nothing is thrown, and all of them are closed in the end. */
async function connection(
  serve: StartSession,
  device: VirtioDevice,
  first: readonly Send[],
  sends: readonly Send[],
): Promise<number> {
  os ??= new LinuxOs();
  const linux = os;
  const folder = mkdtempSync(join(tmpdir(), 'fuzz-'));
  writeFileSync(join(folder, 'file'), new Uint8Array(8192));
  const before = openDescriptors();
  const { channel, fd } = linux.createChannel();
  let closed = false;
  const ended = new Promise<void>((resolve) => {
    channel.receive({
      received: (_, fds) => {
        for (const one of fds) linux.closeFd(one);
      },
      closed: () => {
        closed = true;
      },
    });
    const environment = {
      os: linux,
      clock: linux.clock,
      defer: (callback: () => void) => void setImmediate(callback),
      print: () => {},
      warn: () => {},
      maxMemory: 64 * MEMORY,
    };
    serve(linux.adoptChannel(fd), device, environment, () => resolve());
  });
  let steps = 0;
  for (const { bytes, kinds: wanted } of [...first, ...sends]) {
    if (closed) break;
    const opened = wanted.map((kind) => open(kind, linux, folder));
    channel.send(
      bytes,
      opened.map((one) => one.fd),
    );
    for (const one of opened) one.close();
    steps += 1;
    await settled(linux);
  }
  channel.close();
  await ended;
  const late = performance.now() + CLOSED;
  while (openDescriptors() > before && performance.now() < late) await new Promise(setImmediate);
  assert.equal(openDescriptors(), before, 'descriptors were left open, or closed that should not be');
  rmSync(folder, { recursive: true });
  return steps;
}

const MESSAGE = 'message over a real socket';
const some = (send: fc.Arbitrary<Send>): fc.Arbitrary<Send[]> =>
  fc.array(fc.oneof({ weight: 60, arbitrary: send }, noise), { maxLength: 100, size: 'max' });

export const SOCKETS: readonly Target[] = [
  asyncTarget('vhost-user-socket', MESSAGE, some(vhost), (sends) =>
    connection(serveVhostUser, new ProbeDevice(), [], sends),
  ),
  asyncTarget('vfio-user-socket', MESSAGE, some(vfio), (sends) =>
    connection(
      serveVfioUser,
      new PciProbe(),
      [{ bytes: encodeVfio(0, VFIO_USER_VERSION, 0, [encodeVersion()]), kinds: [] }],
      sends,
    ),
  ),
];
