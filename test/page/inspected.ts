import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  connectVhostUser,
  type DriverTransport,
  type MakeDevice,
  openInspector,
  type ServeOptions,
  serve,
} from '../../src/index.js';
import { Recorder } from '../../src/record/recorder.js';

/** A device that is served and looked at. */
export interface Inspected {
  /** Lets one browser in. */
  readonly url: string;
  /** A driver's way to it. */
  connect(): Promise<DriverTransport>;
  /** Records the connections that come from now on. @returns writes what was recorded into a file. */
  record(): () => string;
  close(): void;
}

/** Serves a device in this process, with a page. @param title - in the page. */
export async function inspected(
  make: MakeDevice,
  title: string,
  options: Pick<ServeOptions, 'features'> = {},
): Promise<Inspected> {
  const folder = mkdtempSync(join(tmpdir(), 'virtio-misc-test-'));
  const socket = join(folder, 'device.sock');
  const server = await serve(make, { vhostUser: socket, warn: () => {}, print: false, ...options });
  const inspector = await openInspector({ title });
  inspector.add(server);
  return {
    url: inspector.url,
    connect: () => connectVhostUser(socket),
    record() {
      const pieces: Uint8Array[] = [];
      const recorder = new Recorder({ write: (blocks) => pieces.push(blocks) > 0 }, 'test', Date.now);
      server.observe(recorder.listener(4096));
      return () => {
        recorder.flush();
        const file = join(folder, 'recording.pcapng');
        writeFileSync(file, Buffer.concat(pieces));
        return file;
      };
    },
    close() {
      inspector.close();
      server.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
