import { realpathSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { isDevice, type MakeDevice } from '../virtio/make-device.js';
import { makeTold } from '../virtio/with-options.js';
import { codeFrame } from './code-frame.js';
import type { CodeModule, DeviceCode } from './device-code.js';
import { DeviceFileError } from './device-file-error.js';
import { explainError } from './explain-error.js';
import { hashNow } from './file-watcher.js';
import { isDeviceFile } from './is-device-file.js';
import { currentLoads, withoutMarks } from './load-marks.js';
import { installModuleHooks, loadFrom, takeTold } from './module-hooks.js';
import { findSyntaxError, markedUrl, type Told } from './module-source.js';

/** As a load took it; without a text, where that is Node's to load. */
interface LoadedModule {
  readonly hash: string;
  readonly text: string | undefined;
  readonly imports: Map<string, string>;
}

/** The last load of each file, by its number. */
const loads = new Map<string, DeviceFile>();
let lastLoad = 0;

/**
 * A file whose default export is what `defineDevice` returns: TypeScript (.ts, .mts) or JavaScript (.js, .mjs), an ES module. It can
 * be anywhere, and import 'virtio-misc' from there.
 */
export class DeviceFile {
  readonly path: string;
  /** What its loads read, with the hash of each file; `undefined` for what was not there. */
  readonly files: Map<string, string | undefined> = new Map();
  readonly #options: Readonly<Record<string, string>>;
  #load = '';

  #modules = new Map<string, LoadedModule>();

  /**
   * @param from - its path; or what it is first loaded from, wherever it is by now.
   * @param options - of the device, as a person said them.
   * @throws DeviceFileError when there is no such file, or it is of another kind.
   */
  constructor(from: string | DeviceCode, options: Readonly<Record<string, string>> = {}) {
    this.#options = options;
    if (typeof from !== 'string') {
      this.path = from.main;
      return;
    }
    const path = from;
    if (!isDeviceFile(path)) {
      throw new DeviceFileError(`${path}: a device file is a .ts, .mts, .js or .mjs file`);
    }
    const found = statSync(path, { throwIfNoEntry: false });
    if (found === undefined) throw new DeviceFileError(`there is no file ${path}`);
    if (!found.isFile()) throw new DeviceFileError(`${path} is no file`);
    this.path = realpathSync(resolve(path));
  }

  /** What the last load took: of use when that went well. */
  get code(): DeviceCode {
    const modules = new Map<string, CodeModule>();
    for (const [path, { text, hash, imports }] of this.#modules)
      if (text !== undefined) modules.set(path, { text, hash, imports });
    return { main: this.path, modules };
  }

  /**
   * Loads the file as it is now, and what it imports.
   *
   * @param code - what to load in its place: what another load took.
   * @returns what it exports, tried once.
   * @throws DeviceFileError
   */
  async load(code?: DeviceCode): Promise<MakeDevice> {
    installModuleHooks();
    this.#forget();
    this.#load = `${++lastLoad}`;
    this.#modules = new Map();
    const modules = this.#modules;
    loads.set(this.#load, this);
    currentLoads.set(this.#load, (path) => modules.get(path)?.hash === hashNow(path));
    if (code !== undefined) loadFrom(this.#load, code);
    // A load that fails does not get to all of them: what they are now did not help.
    else for (const [path, hash] of this.files) this.files.set(path, hashNow(path) ?? hash);
    let exported: { default?: unknown };
    try {
      exported = (await import(markedUrl(pathToFileURL(this.path).href, this.#load))) as {
        default?: unknown;
      };
    } catch (error) {
      noteFiles();
      throw this.#failed(error);
    }
    noteFiles();
    let make = exported.default;
    if (make === undefined) {
      throw new DeviceFileError(
        `${this.path} has no default export: write 'export default defineDevice({...})'`,
      );
    }
    if (typeof make !== 'function') throw new DeviceFileError(`${this.path}: ${NO_DEVICE}`);
    let device: unknown;
    try {
      make = makeTold(make as MakeDevice, this.#options);
      device = (make as MakeDevice)();
    } catch (error) {
      throw this.#failed(error);
    }
    if (!isDevice(device)) throw new DeviceFileError(`${this.path}: ${NO_DEVICE}`);
    return make as MakeDevice;
  }

  /** The load before is over. */
  #forget(): void {
    if (this.#load === '') return;
    loads.delete(this.#load);
    currentLoads.delete(this.#load);
    loadFrom(this.#load, undefined);
  }

  /** What its load did. @internal */
  note(told: Told): void {
    if ('importer' in told) {
      this.#modules.get(told.importer)?.imports.set(told.specifier, told.path);
      return;
    }
    const { path, hash, text } = told;
    this.files.set(path, hash);
    if (hash !== undefined) this.#modules.set(path, { hash, text, imports: new Map() });
  }

  #failed(error: unknown): DeviceFileError {
    const message = this.#describe(error);
    const place = /^(\S.*\.m?[jt]s):(\d+)(?::(\d+))?/.exec(message);
    // A syntax error has no stack of the author's, but its place.
    const detail =
      explainError(error)?.lines ??
      (place === null ? [] : codeFrame(place[1]!, Number(place[2]), Number(place[3] ?? 1)));
    return new DeviceFileError(message, detail);
  }

  #describe(error: unknown): string {
    if (!(error instanceof Error)) return `${this.path}: it threw ${String(error)}`;
    const message = withoutMarks(error.message).split('\n')[0]!;
    if (error instanceof SyntaxError && !hasPlace(message)) {
      const found = findSyntaxError(
        [...this.files].filter(([, hash]) => hash !== undefined).map(([path]) => path),
      );
      if (found !== undefined) return found;
    }
    if (hasPlace(message)) return message;
    const place = [...this.files.keys(), this.path]
      .map((path) => placeIn(withoutMarks(error.stack ?? ''), path))
      .find((found) => found !== undefined);
    return `${place ?? this.path}: ${message}`;
  }
}

const NO_DEVICE =
  "the default export is no device: let it be what defineDevice returns ('export default defineDevice({...})')";

/** Nothing is taken out of `files` again: a load that fails does not get to all that the next one needs. */
function noteFiles(): void {
  for (const told of takeTold()) loads.get(told.load)?.note(told);
}

function hasPlace(message: string): boolean {
  return /^\S.*\.m?[jt]s:\d+/.test(message);
}

/** `path:line:column`, from the topmost line of a stack that is in this file. */
function placeIn(stack: string, path: string): string | undefined {
  const found = /^\d+(:\d+)?/.exec(stack.split(`${path}:`)[1] ?? '');
  return found ? `${path}:${found[0]}` : undefined;
}
