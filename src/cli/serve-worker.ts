import { decodeCode, encodeCode } from '../device-file/device-code.js';
import type { DeviceFile } from '../device-file/device-file.js';
import { type DeviceOutline, KEEPER_VARIABLE, type LookedAt, type Question } from '../keeper/frames.js';
import { readGiven, type WasGiven } from '../keeper/worker/given.js';
import { type Answer, type Handed, WorkerLine } from '../keeper/worker/worker-line.js';
import type { LinuxOs } from '../linux/linux-os.js';
import { endWithParent } from '../linux/parent-death.js';
import { linuxOs } from '../linux-only.js';
import { type KeptServer, type ServeOptions, type Source, serveKept } from '../serve.js';
import type { MakeDevice } from '../virtio/make-device.js';
import { DeskLine } from './desk-line.js';
import { inMemory } from './errand-listener.js';
import { replace, sayFailed } from './live-reload.js';
import type { Logger } from './log.js';

/** What a keeper hears of with its own ears: the signals that a terminal or a service manager sends to all. */
const KEEPERS: readonly NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'];

/** A device's file, and who hears what becomes of it. */
export interface ServedFile {
  readonly file: DeviceFile;
  readonly log: Logger;
}

/** A process that a keeper started, to serve one front-end. */
export class Worker {
  readonly #os: LinuxOs;
  /** What counts, records and is asked for all workers, if anything does. */
  readonly desk: DeskLine | undefined;
  readonly #line: WorkerLine;
  readonly #accepted = new Map<Handed['transport'], (handed: Handed) => void>();
  #server: KeptServer | undefined;
  #end: () => void = () => {};
  /** Resolves when its front-end is gone, or its keeper. */
  readonly ended: Promise<void> = new Promise((resolve) => {
    this.#end = resolve;
  });

  /** What its keeper gave it. */
  readonly given: WasGiven;
  #file: ServedFile | undefined;

  private constructor(os: LinuxOs, fd: number) {
    this.#os = os;
    this.given = readGiven();
    this.desk = DeskLine.find(os);
    this.#line = new WorkerLine(
      os,
      fd,
      (handed) => this.#accepted.get(handed.transport)!(handed),
      (question, bytes) => this.#answer(question, bytes),
      () => this.#end(),
    );
  }

  /** @returns `undefined` in a process that no keeper started. */
  static async find(): Promise<Worker | undefined> {
    const fd = process.env[KEEPER_VARIABLE];
    if (fd === undefined) return undefined;
    // What this process starts is no worker.
    delete process.env[KEEPER_VARIABLE];
    endWithParent('SIGKILL');
    for (const signal of KEEPERS) process.on(signal, () => {});
    return new Worker(await linuxOs(), Number(fd));
  }

  /** Serves a device to the front-end that will be handed over. */
  async serve(make: MakeDevice, { vhostUser, vfioUser, ...options }: ServeOptions): Promise<KeptServer> {
    const sources: Source[] = [];
    if (vhostUser !== undefined) sources.push(this.#source('vhost-user', vhostUser));
    if (vfioUser !== undefined) sources.push(this.#source('vfio-user', vfioUser));
    this.#server = serveKept(make, options, this.#os, sources);
    return this.#server;
  }

  /** A front-end can come, to a device like this one. @param file - where it is from, if it is a file's. */
  ready(device: DeviceOutline, file?: ServedFile): void {
    this.#file = file;
    this.#line.ready(
      device,
      file && { bytes: this.given.code ?? encodeCode(file.file.code), files: lookedAt(file.file) },
    );
  }

  /** None can: this process ends. @param why - in one line. */
  failed(why: string): void {
    this.#line.failed(why);
  }

  /** A front-end went. @param connection - its number. @param error - how it broke the protocol, if it did. */
  gone(connection: number, error: Error | undefined): void {
    this.desk?.left();
    this.#line.over(connection, error);
  }

  close(): void {
    this.desk?.close();
    this.#line.close();
  }

  /** Does what the keeper asks. */
  async #answer(question: Question, bytes: Uint8Array): Promise<Answer> {
    const server = this.#server!;
    switch (question.what) {
      case 'portray':
        return { bytes: server.portray() };
      case 'try':
        server.try(bytes, question.transport);
        return {};
      case 'yield': {
        const at = Number(process.hrtime.bigint());
        await server.yield();
        return { at };
      }
      case 'reload':
        return this.#reload(bytes.length === 0 ? undefined : bytes, question.quiet);
      case 'save':
        return inMemory(this.#os, await server.save({ standing: question.standing }));
      default:
        throw new Error('a worker of this version does not know how');
    }
  }

  /** Loads the device's file anew, or this code, and has that device served. */
  async #reload(given: Uint8Array | undefined, quiet: boolean): Promise<Answer> {
    const { file, log } = this.#file!;
    const lines = log.child({ file: file.path }, quiet ? { level: 'silent' } : {});
    let make: MakeDevice;
    try {
      make = await file.load(given && decodeCode(given));
    } catch (error) {
      sayFailed(error, lines);
      return { result: 'failed', files: lookedAt(file) };
    }
    const code = given === undefined ? { bytes: encodeCode(file.code) } : {};
    try {
      return { result: replace(this.#server!, make, lines), files: lookedAt(file), ...code };
    } catch (error) {
      sayFailed(error, lines);
      return { result: 'failed', files: lookedAt(file) };
    }
  }

  #source(transport: Handed['transport'], place: string | number): Source {
    return {
      transport,
      name: typeof place === 'string' ? place : `descriptor ${place}`,
      accept: (accepted) =>
        this.#accepted.set(transport, ({ channel, keep, connection, first }) =>
          accepted(channel, keep, connection, first),
        ),
      started: () => this.#line.started(),
    };
  }
}

function lookedAt({ files }: DeviceFile): LookedAt {
  return [...files].map(([path, hash]) => [path, hash ?? null] as const);
}
