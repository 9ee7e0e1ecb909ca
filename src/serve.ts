import { toStderr, toStdout } from './bounded-stream.js';
import { type Connection, Connections, type ServedConnection } from './connections.js';
import { FailureLines } from './device-file/failure-lines.js';
import type { FileServeOptions, FileServer } from './file-server.js';
import { KeptDevice, keptDevice } from './kept-device.js';
import { type LineLimiter, ONCE } from './lines/line-limiter.js';
import { processLimiter } from './lines/process-limiter.js';
import type { LinuxOs } from './linux/linux-os.js';
import type { UnixListener } from './linux/unix-listener.js';
import { linuxOs } from './linux-only.js';
import { type Listener, Observer } from './observe/observer.js';
import type { Keep } from './transports/keep.js';
import type { Channel } from './transports/ports.js';
import type { Environment, Session, StartSession } from './transports/session.js';
import {
  checkChoice,
  offeredOver,
  PCI_FEATURES,
  VHOST_USER_FEATURES,
} from './transports/transport-features.js';
import { vfioUser } from './transports/vfio-user/device/server.js';
import { serveVhostUser } from './transports/vhost-user/device/backend.js';
import type { Abortable } from './virtio/abortable.js';
import { aFunction, anything, aSignal, checkOptions, type OptionRule } from './virtio/check-options.js';
import type { VirtioDevice } from './virtio/device.js';
import type { LogContext } from './virtio/log-context.js';
import { checkMakes, type MakeDevice, madeDevice } from './virtio/make-device.js';
import { combineMonitors, type Monitor, type Print } from './virtio/monitor.js';
import { restoreDevice } from './virtio/moved-device.js';
import { Poller } from './virtio/poller.js';
import { ReplaceError } from './virtio/replace-error.js';
import { RestoredState } from './virtio/restored-state.js';
import type { RingFeatures } from './virtio/ring-features.js';
import { StateError } from './virtio/saved-state.js';
import { trySuccessor } from './virtio/successor.js';

/** Where a device is served, and who hears of it. */
export interface ServeOptions {
  /**
   * Socket file for vhost-user front-ends: a stale one is taken over, and it is removed at the end. Or the number of a descriptor that
   * this process was started with: a socket that listens, or one that is connected to the only front-end.
   */
  readonly vhostUser?: string | number;
  /** Socket file for vfio-user clients, likewise. */
  readonly vfioUser?: string;
  /** vfio-user: how many MSI-X vectors; 0 for INTx. One for each queue and one for the configuration unless told. */
  readonly vectors?: number;
  /** Bytes of memory that one connection may share. 4 TiB unless told. */
  readonly maxMemory?: number;
  /**
   * Looks at the rings in shared memory instead of waiting for kicks, for so many ns after each request; `true` for as long as requests
   * come quickly enough that it pays. It takes a processor meanwhile, and is of use where the driver has another. Not unless told.
   */
  readonly poll?: boolean | number;
  /**
   * vhost-user: offers kicks and interrupts that are messages instead of eventfds (INBAND_NOTIFICATIONS). For front-ends that have no eventfds, such as
   * simulations; QEMU accepts it and then sends none. Not unless told.
   */
  readonly inband?: boolean;
  /** The ring features that drivers are offered, where it is not what they are offered unless told. */
  readonly features?: RingFeatures;
  /**
   * What the first device that a driver starts goes on from: what `Server.save` of another gave. For the guest of that one, which stood still
   * meanwhile, or for its driver, which knows what it had set up.
   */
  readonly restore?: Uint8Array;
  /** Takes each line that a device prints for its user. To stdout unless told; `false` when nobody reads them. */
  readonly print?: Print | false;
  /**
   * A line about what a peer or the device did wrong, to stderr unless told. However many a peer causes: of each kind the first ten
   * come, then one a second, with how many there were. What the device threw comes with the stack and the code there (`about.detail`), once
   * for each place.
   */
  warn?(line: string, about?: LogContext & Partial<Connection>): void;
  /** Who looks on while this device is run for this connection. */
  monitor?(device: VirtioDevice, connection: Connection): Monitor | undefined;
  /** Closes the server. */
  readonly signal?: AbortSignal;
  /** A front-end came. */
  connected?(socket: string, connection: Connection): void;
  /** It went; `error` says how it broke the protocol, if it did. The next one may come. */
  gone?(socket: string, error: Error | undefined, connection: Connection): void;
}

/** Where front-ends come from that is no socket of this process's own. */
export interface Source {
  readonly name: string;
  readonly transport: Transport;
  /**
   * Says who gets those who come; another process keeps what is to be known of them, and has numbers for them. The first is one when no driver has
   * started a device yet.
   */
  accept(accepted: (channel: Channel, keep: Keep, connection: number, first: boolean) => void): void;
  /** A driver has started the device. */
  started(): void;
}

/** One for the process: all that is polled takes turns. */
const poller = new Poller({ now: () => performance.now() * 1e6, soon: setImmediate });

function polling(poll: boolean | number = false): Environment['poll'] {
  if (poll === false) return undefined;
  const window = poll === true ? undefined : poll;
  return (polled) => poller.spin(polled, window);
}

/** What became of one front-end's device. */
export interface Replacement {
  readonly socket: string;
  /** Why its old device goes on. */
  readonly error?: Error;
}

/** Who hears of everything; see `Server.observe`. */
export interface ServerObserver extends Listener {
  /** The server is closed: nothing follows. */
  closed?(): void;
}

/** What is saved; see `Server.save`. */
export interface SaveOptions {
  /** The socket at which the front-end is, where more than one has one. */
  readonly socket?: string;
  /** The guest stands still, though a vfio-user client did not say so: it has no message for that. */
  readonly standing?: boolean;
}

/** A device that is being served. */
export interface Server {
  /**
   * Serves devices of another make: those that are served now are replaced while their front-ends stay (see `VirtioDevice`), and later
   * front-ends get theirs from `make`, unless a device threw.
   *
   * @returns what became of each front-end's device; a `ReplaceError` says that its driver would notice.
   * @throws what `make` throws; nothing is changed then.
   */
  replace(make: MakeDevice): Replacement[];
  /**
   * The state of a device whose guest stands still, as bytes, with a version and a check: what its `save` returns, and its configuration space.
   * `serve` with `restore` goes on from it. The device goes on here as well.
   *
   * Rejects with a `StateError` that says what to do, or with what the device's `save` threw.
   */
  save(options?: SaveOptions): Promise<Uint8Array>;
  /** The devices that front-ends have now, for asking them things (`controls`). */
  readonly devices: readonly VirtioDevice[];
  /** Resolves after `close`, or when all its front-ends left and no other can come: it was given connections, and no socket to listen at. */
  readonly finished: Promise<void>;
  /**
   * Those that come from now on, one after the other: `for await (const { socket, gone } of server.connections())`. Ends when the server is
   * closed; with a signal, throws its reason when that is aborted.
   */
  connections(options?: Abortable): AsyncIterableIterator<ServedConnection>;
  /**
   * Has somebody hear, at once, of everything that passes between drivers and devices on the connections that come from now on: what `inspect`
   * reads, and recordings are made of. He neither waits nor throws, and changes nothing of what he is given.
   *
   * @returns he does not listen any more.
   */
  observe(observer: ServerObserver): () => void;
  /** Ends its connections and removes its sockets. Safe to call twice. */
  close(): void;
  /** `await using server = await serve(...)`: closes it. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** A server in a worker, which has one front-end, or none yet. Its front-end can be left to another process. @internal */
export interface KeptServer extends Server {
  /** @see Session.portray @throws Error when no front-end is there. */
  portray(): Uint8Array;
  /** Whether its device can take the place of that one. @throws as `trySuccessor`. */
  try(portrait: Uint8Array, transport: Transport): void;
  /** @see Session.yield From now on `close` lets the device go, and nothing else. */
  yield(): Promise<void>;
}

/**
 * Serves the device that a file exports, in processes that may die at any moment, without their front-ends noticing; this process keeps what must not
 * die. What it is called with is what a worker is started with: what it prints goes to stdout, what is wrong to stderr.
 *
 * @param file - its path, or file: URL.
 * @throws TypeError for a device that is no file, and options that are for devices of this process; Error when the file's device can't be served.
 */
export async function serve(file: string | URL, options: FileServeOptions): Promise<FileServer>;
/**
 * Serves a device on unix sockets. Each front-end gets a device of its own from `make`; a socket has one front-end at a time,
 * and the next one waits its turn.
 *
 * @param make - what `defineDevice`, `virtioMisc()` or `virtioTest()` return.
 * @throws TypeError when no socket is named, a device is given where one is made, or a ring feature is none; OsError when one is in use, or can't be made;
 * StateError when the device can't go on from what is to be restored.
 */
export async function serve(make: MakeDevice, options: ServeOptions): Promise<Server>;
export async function serve(
  make: MakeDevice | string | URL,
  options: ServeOptions | FileServeOptions,
): Promise<Server | FileServer> {
  if ('keeper' in (options ?? {}) && (options as { keeper?: unknown }).keeper !== undefined)
    return (await import('./serve-file.js')).serveFile(make, options as FileServeOptions);
  return serveMade(make, options as ServeOptions);
}

async function serveMade(make: unknown, options: ServeOptions): Promise<Server> {
  if (typeof make === 'string' || make instanceof URL)
    throw new TypeError(
      "serve takes a device's file with { keeper: true }: import it, and give what it exports",
    );
  checkMakes(make, 'serve');
  checkOptions(options, 'serve', OPTIONS);
  options.signal?.throwIfAborted();
  const places: [place: string | number, transport: Transport][] = [];
  if (options.vhostUser !== undefined) places.push([options.vhostUser, 'vhost-user']);
  if (options.vfioUser !== undefined) places.push([options.vfioUser, 'vfio-user']);
  if (places.length === 0) throw new TypeError('say where to serve: vhostUser or vfioUser');
  const os = await linuxOs();
  try {
    return serveAt(make, options, os, places);
  } catch (error) {
    os.close();
    throw error;
  }
}

/** Serves a device in a worker, whose keeper hands over the front-ends. */
export function serveKept(
  make: MakeDevice,
  options: ServeOptions,
  os: LinuxOs,
  sources: readonly Source[],
): KeptServer {
  return serveAt(
    make,
    options,
    os,
    sources.map((source) => [source, source.transport]),
  );
}

function serveAt(
  make: MakeDevice,
  options: ServeOptions,
  os: LinuxOs,
  places: readonly (readonly [place: string | number | Source, transport: Transport])[],
): KeptServer {
  const { vectors } = options;
  const starts = {
    'vhost-user': serveVhostUser,
    'vfio-user': vfioUser(vectors === undefined ? {} : { vectors }),
  };
  const { poll = false } = options;
  if (typeof poll === 'number' && !(poll > 0 && poll <= 1e9))
    throw new RangeError(`a ring is polled for at most 1e9 ns after a request, not ${poll}`);
  // Says what is wrong with them before anything is opened.
  checkChoice(
    options.features ?? {},
    places.map(([, transport]) => FEATURES[transport]),
  );
  const restored = new RestoredState(make, options.restore);
  const sockets: ServedSocket[] = [];
  const connections = new Connections();
  const observers = new Set<ServerObserver>();
  const close = (): void => {
    options.signal?.removeEventListener('abort', close);
    connections.close();
    for (const socket of sockets.splice(0)) socket.close();
    os.close();
    for (const observer of observers) observer.closed?.();
    observers.clear();
  };
  try {
    let last = 0;
    const number = (): number => ++last;
    for (const [place, transport] of places) {
      const start = starts[transport];
      sockets.push(
        new ServedSocket(
          os,
          place,
          transport,
          start,
          make,
          number,
          connections,
          observers,
          restored,
          options,
        ),
      );
    }
  } catch (error) {
    close();
    throw error;
  }
  const finished = Promise.all(sockets.map((socket) => socket.finished)).then(() => {});
  options.signal?.addEventListener('abort', close, { once: true });
  return {
    close,
    finished,
    replace: (next) => replaceAll(sockets, next),
    save: (what = {}) => saveOne(sockets, what),
    portray: () => theBusy(sockets).portray(),
    try: (portrait, transport) => sockets.find((socket) => socket.transport === transport)!.try(portrait),
    yield: () => theBusy(sockets).yield(),
    connections: ({ signal } = {}) => connections.read(signal),
    observe(observer) {
      observers.add(observer);
      return () => {
        observers.delete(observer);
        for (const socket of sockets) socket.leave(observer);
      };
    },
    get devices() {
      return sockets.flatMap(({ device }) => device ?? []);
    },
    async [Symbol.asyncDispose]() {
      close();
      await finished;
    },
  };
}

const OPTIONS: Readonly<Record<keyof ServeOptions, OptionRule>> = {
  vhostUser: (value) =>
    typeof value === 'string' || typeof value === 'number' ? undefined : 'a path or a descriptor',
  vfioUser: (value) => (typeof value === 'string' ? undefined : 'a path'),
  vectors: (value) => (typeof value === 'number' ? undefined : 'a number'),
  maxMemory: (value) => (typeof value === 'number' ? undefined : 'a number of bytes'),
  poll: anything,
  inband: (value) => (typeof value === 'boolean' ? undefined : 'true or false'),
  features: anything,
  restore: (value) => (value instanceof Uint8Array ? undefined : 'the bytes of a state'),
  print: (value) => (value === false || typeof value === 'function' ? undefined : 'a function or false'),
  warn: aFunction,
  monitor: aFunction,
  signal: aSignal,
  connected: aFunction,
  gone: aFunction,
};

function replaceAll(sockets: readonly ServedSocket[], make: MakeDevice): Replacement[] {
  checkMakes(make, 'replace');
  const devices = sockets.map(({ busy }) => (busy ? madeDevice(make, 'replace') : undefined));
  const done = sockets.flatMap((socket, index) => socket.replace(devices[index]) ?? []);
  if (done.every(({ error }) => error === undefined || error instanceof ReplaceError)) {
    for (const socket of sockets) socket.make = make;
  }
  return done;
}

async function saveOne(
  sockets: readonly ServedSocket[],
  { socket: name, standing = false }: SaveOptions,
): Promise<Uint8Array> {
  const named = sockets.filter((socket) => name === undefined || socket.name === name);
  if (named.length === 0) throw new StateError(`nothing is served at ${name}`);
  const busy = named.filter((socket) => socket.busy);
  if (busy.length === 0)
    throw new StateError(`no front-end is at ${named.map((socket) => socket.name).join(' or ')}`);
  if (busy.length > 1)
    throw new StateError(
      `say which device: one is at ${busy.map((socket) => socket.name).join(', another at ')}`,
    );
  return busy[0]!.save(standing);
}

function theBusy(sockets: readonly ServedSocket[]): ServedSocket {
  const busy = sockets.find((socket) => socket.busy);
  if (busy === undefined) throw new StateError('no front-end is there');
  return busy;
}

type Transport = Connection['transport'];

const FEATURES = { 'vhost-user': VHOST_USER_FEATURES, 'vfio-user': PCI_FEATURES } as const;

class ServedSocket {
  readonly name: string;
  readonly transport: Transport;
  readonly #start: StartSession;
  readonly #number: () => number;
  readonly #connections: Connections;
  readonly #observers: ReadonlySet<Listener>;
  readonly #restored: RestoredState;
  readonly #environment: Environment;
  readonly #options: ServeOptions;
  /** One for the socket: who connects again and again starts no new count. */
  readonly #limiter: LineLimiter<LogContext & Partial<Connection>>;
  readonly #failures: FailureLines<LogContext & Partial<Connection>>;
  /** None for a connection. */
  readonly #listener: UnixListener | undefined;
  /** For the next front-end. */
  make: MakeDevice;
  #session: Session | undefined;
  #device: VirtioDevice | undefined;
  #keep: Keep | undefined;
  /** Where its front-end comes from, in a worker. */
  #source: Source | undefined;
  /** Another process has its front-end. */
  #left = false;
  /** It is being saved: the front-end left. */
  #gone: (() => void) | undefined;
  /** Of its front-end, when there was anybody to listen. */
  #observer: Observer | undefined;
  #finish: () => void = () => {};
  /** Resolves when the only front-end there is left. */
  readonly finished: Promise<void> = new Promise((resolve) => {
    this.#finish = resolve;
  });

  constructor(
    os: LinuxOs,
    place: string | number | Source,
    transport: Transport,
    start: StartSession,
    make: MakeDevice,
    number: () => number,
    connections: Connections,
    observers: ReadonlySet<Listener>,
    restored: RestoredState,
    options: ServeOptions,
  ) {
    const environment: Environment = {
      os,
      clock: os.clock,
      defer: setImmediate,
      maxMemory: options.maxMemory,
      print: options.print === false ? undefined : (options.print ?? toStdout),
      warn: (line, about) => this.#failures.say(line, { socket: this.name, transport, ...about }),
      poll: polling(options.poll),
      inband: options.inband,
      ringFeatures: offeredOver(FEATURES[transport], options.features),
    };
    this.name = nameOf(place);
    this.transport = transport;
    this.#start = start;
    this.#number = number;
    this.#connections = connections;
    this.#observers = observers;
    this.#restored = restored;
    this.#environment = environment;
    this.#options = options;
    const warn = options.warn ?? toStderr;
    const write = (line: string, about: LogContext & Partial<Connection>): void => warn(line, about);
    this.#limiter = processLimiter(write);
    this.#failures = new FailureLines(this.#limiter, write);
    this.make = make;
    if (typeof place === 'object') {
      this.#source = place;
      place.accept((channel, keep, connection, first) => this.#serve(channel, keep, connection, first));
      return;
    }
    const socket = typeof place === 'string' ? os.listen(place) : os.adoptSocket(place);
    if ('send' in socket) {
      this.#serve(socket);
      return;
    }
    this.#listener = socket;
    socket.accept({
      accepted: (channel) => this.#serve(channel),
      failed: (error) => this.#limiter.say(error.message, { socket: this.name, transport }, ONCE),
    });
  }

  #serve(
    channel: Channel,
    keep?: Keep,
    connectionNumber: number = this.#number(),
    first: boolean = true,
  ): void {
    const kept = new KeptDevice(keep, (fd) => this.#environment.os.closeFd(fd));
    let device: VirtioDevice;
    try {
      device = madeDevice(this.make, 'serve');
      if (kept.before !== undefined) this.#goOn(device, kept.before.device);
      else if (first && !kept.started) this.#restored.giveTo(device);
    } catch (error) {
      channel.close();
      this.#environment.warn(`the device can't be made: ${error instanceof Error ? error.message : error}`, {
        error,
      });
      this.#finishIfOver();
      return;
    }
    this.#listener?.pause();
    const connection: Connection = {
      connection: connectionNumber,
      socket: this.name,
      transport: this.transport,
    };
    this.#options.connected?.(this.name, connection);
    this.#connections.came(connection);
    const { clock } = this.#environment;
    const observer =
      this.#observers.size === 0
        ? undefined
        : new Observer(device, connection, this.#observers, () => clock.now());
    this.#observer = observer;
    const monitor = combineMonitors([this.#options.monitor?.(device, connection), observer]);
    const environment: Environment = {
      ...this.#environment,
      warn: (line, about) => {
        monitor?.warned?.(line);
        this.#failures.say(line, { ...connection, ...about });
      },
      monitor,
      keep: kept.sessions,
      begun: kept.before?.active,
      activated: () => {
        this.#restored.given();
        this.#source?.started();
        kept.activated();
      },
    };
    this.#keep = keep;
    this.#device = device;
    this.#session = this.#start(channel, device, environment, (error) => {
      this.#session = undefined;
      this.#gone?.();
      observer?.gone(error);
      this.#options.gone?.(this.name, error, connection);
      this.#connections.went(connection, error);
      this.#listener?.resume();
      this.#finishIfOver();
    });
  }

  /** Whether another front-end can come. */
  #finishIfOver(): void {
    if (this.#listener === undefined && this.#source === undefined) this.#finish();
  }

  /** Takes a state up that a device like this one took before: it can't be expected to fail. */
  #goOn(device: VirtioDevice, state: Uint8Array): void {
    try {
      restoreDevice(device, state);
    } catch (error) {
      this.#environment.warn(`${device.name}: it begins afresh: ${(error as Error).message}`, { error });
    }
  }

  /** The device of its front-end. */
  get device(): VirtioDevice | undefined {
    return this.#session && this.#device;
  }

  /** Whether it has a front-end. */
  get busy(): boolean {
    return this.#session !== undefined;
  }

  /** @see Observer.leave */
  leave(listener: Listener): void {
    this.#observer?.leave(listener);
  }

  replace(device: VirtioDevice | undefined): Replacement | undefined {
    if (device === undefined || this.#session === undefined) return undefined;
    try {
      this.#session.replace(device);
      this.#device = device;
      return { socket: this.name };
    } catch (error) {
      return { socket: this.name, error: error instanceof Error ? error : new Error(String(error)) };
    }
  }

  /** @see Server.save */
  async save(standing: boolean): Promise<Uint8Array> {
    const device = this.#device!;
    if (device.save === undefined)
      throw new StateError(`${device.name} has no \`save\`, and so no state: serve it anew without`);
    if (this.#gone !== undefined) throw new StateError('it is being saved already: try again');
    const gone = new Promise<never>((_, reject) => {
      this.#gone = () => reject(new StateError('its front-end left meanwhile'));
    });
    try {
      return await Promise.race([this.#session!.save(standing), gone]);
    } finally {
      this.#gone = undefined;
    }
  }

  /** @see Session.portray */
  portray(): Uint8Array {
    return this.#session!.portray();
  }

  /** @see KeptServer.try */
  try(portrait: Uint8Array): void {
    const { clock, ringFeatures = 0n } = this.#environment;
    trySuccessor(portrait, this.make, clock, ringFeatures);
  }

  /** @see KeptServer.yield */
  async yield(): Promise<void> {
    const bytes = await this.#session!.yield();
    this.#left = true;
    this.#keep!.settle(0, keptDevice(bytes));
  }

  close(): void {
    this.#listener?.close();
    if (this.#left) this.#session?.leave();
    else this.#session?.close();
    this.#gone?.();
    this.#observer?.gone();
    this.#limiter.flush();
    this.#finish();
  }
}

function nameOf(place: string | number | Source): string {
  if (typeof place === 'object') return place.name;
  return typeof place === 'string' ? place : `descriptor ${place}`;
}
