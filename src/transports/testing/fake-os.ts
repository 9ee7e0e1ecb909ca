import { MappedView } from '../../memory/mapped-view.js';
import type { MemoryView } from '../../memory/memory-view.js';
import type { Channel, ChannelHandler, EventPort, Mapping, Os, Transfer } from '../ports.js';

/** What the operating system would say. */
class FakeOsError extends Error {
  override readonly name: string = 'OsError';
  readonly code: string;

  constructor(code: string, message: string) {
    super(`${message}: ${code}`);
    this.code = code;
  }
}

/** What a descriptor stands for; several descriptors can stand for one. */
type FakeFile = FakeEventFile | FakeMemoryFile | FakeSocketFile | FakePipeFile | { readonly kind: 'other' };

class FakeEventFile {
  readonly kind: 'event' = 'event';
  readonly watchers: Set<() => void> = new Set();
  signals = 0;
}

let files = 0;

class FakeMemoryFile {
  readonly kind: 'memory' = 'memory';
  readonly identity: string = `file ${++files}`;
  readonly bytes: ArrayBuffer;

  constructor(size: number) {
    this.bytes = new ArrayBuffer(size);
  }
}

/** One end of a pipe. Both share what is in it. */
class FakePipeFile {
  readonly kind: 'pipe' = 'pipe';
  readonly bytes: number[];
  peer!: FakePipeFile;
  /** Hears that something changed: there is more, or less, or the other end is gone. */
  changed: () => void = () => {};

  constructor(bytes: number[]) {
    this.bytes = bytes;
  }
}

/** Bytes that a pipe holds. */
const PIPE_ROOM = 4096;

/** One end of a stream: what was sent to it and not read yet, as the kernel keeps it. */
class FakeSocketFile {
  readonly kind: 'socket' = 'socket';
  peer!: FakeSocketFile;
  readonly inbox: { bytes: Uint8Array; files: readonly FakeFile[] }[] = [];
  reader: FakeChannel | undefined;
  closed = false;
}

/**
 * An operating system in memory, for tests of what is written against `Os`: descriptors are counted, messages and signals
 * are delivered when `run` is called, in the order they were sent, and reads end where the kernel's do.
 */
export class FakeOs implements Os {
  readonly #files = new Map<number, FakeFile>();
  readonly #sockets: FakeSocketFile[] = [];
  readonly #tasks: (() => void)[] = [];
  #nextFd = 3;
  #mappings = 0;
  /** The most bytes that one read of a socket brings. */
  readSize = 65_536;
  /** Accesses to mappings that were released. */
  staleAccesses = 0;
  /** Sends on its channels, from both ends. */
  sends = 0;

  /** Descriptors that are open. */
  get openFds(): number {
    return this.#files.size;
  }

  /** Mappings that were not released. */
  get openMappings(): number {
    return this.#mappings;
  }

  /** Does something in a later turn of `run`; what `Environment.defer` wants. */
  readonly defer = (callback: () => void): void => {
    this.#tasks.push(callback);
  };

  /** Runs until nothing is left to do. @throws Error after 100,000 turns: something goes round in circles. */
  run(): void {
    for (let turns = 0; this.#tasks.length > 0; turns++) {
      if (turns === 100_000) throw new Error('the fake operating system does not come to rest');
      this.#tasks.shift()!();
    }
  }

  createEvent(): FakeEvent {
    return new FakeEvent(this, this.open(new FakeEventFile()));
  }

  adoptEvent(fd: number): FakeEvent {
    if (this.file(fd).kind !== 'event') {
      this.closeFd(fd);
      throw new FakeOsError('EINVAL', 'no eventfd');
    }
    return new FakeEvent(this, fd);
  }

  createChannel(): { readonly channel: FakeChannel; readonly fd: number } {
    const [ours, theirs] = this.socketPair();
    return { channel: new FakeChannel(this, ours), fd: theirs };
  }

  adoptChannel(fd: number): FakeChannel {
    if (this.file(fd).kind !== 'socket') {
      this.closeFd(fd);
      throw new FakeOsError('ENOTSOCK', 'no stream socket');
    }
    return new FakeChannel(this, fd);
  }

  map(fd: number, offset: number, size: number, _readOnly = false): Mapping {
    const file = this.file(fd);
    this.closeFd(fd);
    if (file.kind !== 'memory') throw new FakeOsError('ENODEV', 'no memory');
    if (offset + size > file.bytes.byteLength) throw new FakeOsError('ERANGE', 'the file is too short');
    return this.#mapping(file, offset, size);
  }

  createMemory(_name: string, size: number): { readonly fd: number; readonly mapping: Mapping } {
    const file = new FakeMemoryFile(size);
    return { fd: this.open(file), mapping: this.#mapping(file, 0, size) };
  }

  createPipe(): { readonly reader: number; readonly writer: number } {
    const bytes: number[] = [];
    const [reader, writer] = [new FakePipeFile(bytes), new FakePipeFile(bytes)];
    reader.peer = writer;
    writer.peer = reader;
    return { reader: this.open(reader), writer: this.open(writer) };
  }

  writePipe(fd: number, bytes: Uint8Array, done: (error?: Error) => void): Transfer {
    let at = 0;
    return this.#transfer(fd, ({ bytes: inside, peer }) => {
      if (!this.#isOpen(peer)) return () => done(new FakeOsError('EPIPE', 'write a pipe'));
      for (; at < bytes.length && inside.length < PIPE_ROOM; at++) inside.push(bytes[at]!);
      peer.changed();
      return at === bytes.length ? () => done() : undefined;
    });
  }

  readPipe(fd: number, most: number, done: (result: Uint8Array | Error) => void): Transfer {
    const all: number[] = [];
    return this.#transfer(fd, ({ bytes: inside, peer }) => {
      all.push(...inside.splice(0));
      if (all.length > most) return () => done(new FakeOsError('EFBIG', 'read a pipe'));
      peer.changed();
      return this.#isOpen(peer) ? undefined : () => done(Uint8Array.from(all));
    });
  }

  closeFd(fd: number): void {
    const file = this.file(fd);
    this.#files.delete(fd);
    if (file.kind === 'pipe' && !this.#isOpen(file)) file.peer.changed();
    if (file.kind === 'socket' && !this.#isOpen(file)) this.#hangUp(file);
  }

  /** A descriptor of something that is neither an event nor memory nor a socket. */
  createOther(): number {
    return this.open({ kind: 'other' });
  }

  /** Two descriptors of a connected stream. */
  socketPair(): [number, number] {
    const a = new FakeSocketFile();
    const b = new FakeSocketFile();
    a.peer = b;
    b.peer = a;
    this.#sockets.push(a, b);
    return [this.open(a), this.open(b)];
  }

  /** Another descriptor of the same file. */
  duplicate(fd: number): number {
    return this.open(this.file(fd));
  }

  /** For the parts of this fake. */
  open(file: FakeFile): number {
    const fd = this.#nextFd++;
    this.#files.set(fd, file);
    return fd;
  }

  /** For the parts of this fake. @throws Error for a descriptor that is not open: the code under test closed it twice, say. */
  file(fd: number): FakeFile {
    const file = this.#files.get(fd);
    if (file === undefined) throw new Error(`descriptor ${fd} is not open`);
    return file;
  }

  /** @param step - moves what can be moved. It returns what is to be called when that was all. */
  #transfer(fd: number, step: (file: FakePipeFile) => (() => void) | undefined): Transfer {
    const file = this.file(fd);
    if (file.kind !== 'pipe') {
      this.closeFd(fd);
      throw new FakeOsError('EINVAL', 'no pipe');
    }
    let open = true;
    let pending = false;
    const end = (): void => {
      if (!open) return;
      open = false;
      file.changed = () => {};
      this.closeFd(fd);
    };
    file.changed = () => {
      if (pending) return;
      pending = true;
      this.defer(() => {
        pending = false;
        if (!open) return;
        const over = step(file);
        if (over === undefined) return;
        end();
        over();
      });
    };
    file.changed();
    return { end };
  }

  #mapping(file: FakeMemoryFile, offset: number, size: number): Mapping {
    this.#mappings += 1;
    const zeros = new MappedView(new ArrayBuffer(0));
    const mapped = { view: new MappedView(file.bytes, offset, size), stale: () => {} };
    let released = false;
    return {
      size,
      file: file.identity,
      view: new RevocableView(mapped, 0, size),
      release: () => {
        if (released) return;
        released = true;
        this.#mappings -= 1;
        mapped.view = zeros;
        mapped.stale = () => {
          this.staleAccesses += 1;
        };
      },
    };
  }

  /** Whether a descriptor of it is open, or on its way through a socket. */
  #isOpen(file: FakeFile): boolean {
    for (const other of this.#files.values()) if (other === file) return true;
    return this.#sockets.some((socket) => socket.inbox.some(({ files }) => files.includes(file)));
  }

  #hangUp(file: FakeSocketFile): void {
    file.closed = true;
    const lost = file.inbox.splice(0).flatMap(({ files }) => files);
    this.defer(() => file.peer.reader?.deliver());
    for (const other of lost) {
      if (other.kind === 'socket' && !other.closed && !this.#isOpen(other)) this.#hangUp(other);
    }
  }
}

/** An eventfd of a `FakeOs`. */
export class FakeEvent implements EventPort {
  readonly fd: number;
  readonly #os: FakeOs;
  readonly #file: FakeEventFile;
  #ring: (() => void) | undefined;
  #pending = false;
  #open = true;

  constructor(os: FakeOs, fd: number) {
    this.#os = os;
    this.fd = fd;
    this.#file = os.file(fd) as FakeEventFile;
  }

  /** How often it was signalled, by whomever. */
  get signals(): number {
    return this.#file.signals;
  }

  signal(): void {
    if (!this.#open) return;
    this.#file.signals += 1;
    for (const notice of this.#file.watchers) notice();
  }

  watch(ring: () => void): void {
    this.#ring = ring;
    this.#file.watchers.add(this.#notice);
    if (this.#file.signals > 0) this.#notice();
  }

  isSame(other: EventPort): boolean {
    return other instanceof FakeEvent && other.#file === this.#file;
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#file.watchers.delete(this.#notice);
    this.#os.closeFd(this.fd);
  }

  readonly #notice = (): void => {
    if (this.#pending) return;
    this.#pending = true;
    this.#os.defer(() => {
      this.#pending = false;
      if (this.#open) this.#ring?.();
    });
  };
}

/** One end of a stream socket of a `FakeOs`. */
export class FakeChannel implements Channel {
  readonly #os: FakeOs;
  readonly #fd: number;
  readonly #file: FakeSocketFile;
  #handler: ChannelHandler | undefined;
  #open = true;
  #paused = false;

  constructor(os: FakeOs, fd: number) {
    this.#os = os;
    this.#fd = fd;
    this.#file = os.file(fd) as FakeSocketFile;
  }

  receive(handler: ChannelHandler): void {
    this.#handler = handler;
    this.#file.reader = this;
    this.#os.defer(() => this.deliver());
  }

  send(bytes: Uint8Array, fds: readonly number[] = []): void {
    const { peer } = this.#file;
    if (!this.#open || peer.closed) return;
    this.#os.sends += 1;
    peer.inbox.push({ bytes: bytes.slice(), files: fds.map((fd) => this.#os.file(fd)) });
    this.#os.defer(() => peer.reader?.deliver());
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#os.defer(() => this.deliver());
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#file.reader = undefined;
    this.#os.closeFd(this.#fd);
  }

  /** For the parts of this fake: one read, and the next one later. */
  deliver(): void {
    const { inbox, peer } = this.#file;
    if (!this.#open || this.#paused || this.#handler === undefined) return;
    if (inbox.length === 0) {
      if (!peer.closed) return;
      const handler = this.#handler;
      this.#handler = undefined;
      handler.closed();
      return;
    }
    const pieces: Uint8Array[] = [];
    let files: readonly FakeFile[] = [];
    for (let room = this.#os.readSize; room > 0 && inbox.length > 0 && files.length === 0; ) {
      const head = inbox[0]!;
      const piece = head.bytes.subarray(0, room);
      pieces.push(piece);
      room -= piece.length;
      files = head.files;
      head.files = [];
      if (piece.length < head.bytes.length) head.bytes = head.bytes.subarray(piece.length);
      else inbox.shift();
    }
    this.#os.defer(() => this.deliver());
    const fds = files.map((file) => this.#os.open(file));
    this.#handler.received(new Uint8Array(pieces.flatMap((piece) => [...piece])), fds);
  }
}

/** A view that reads as zeros, and tells, once its mapping was released. */
class RevocableView implements MemoryView {
  readonly length: number;
  readonly #mapped: { readonly view: MappedView; readonly stale: () => void };
  readonly #start: number;

  constructor(
    mapped: { readonly view: MappedView; readonly stale: () => void },
    start: number,
    length: number,
  ) {
    this.#mapped = mapped;
    this.#start = start;
    this.length = length;
  }

  read16(offset: number): number {
    return this.#live(offset, 2)?.read16(this.#start + offset) ?? 0;
  }

  read32(offset: number): number {
    return this.#live(offset, 4)?.read32(this.#start + offset) ?? 0;
  }

  write16(offset: number, value: number): void {
    this.#live(offset, 2)?.write16(this.#start + offset, value);
  }

  write32(offset: number, value: number): void {
    this.#live(offset, 4)?.write32(this.#start + offset, value);
  }

  load16(offset: number): number {
    return this.#live(offset, 2)?.load16(this.#start + offset) ?? 0;
  }

  loadWord(offset: number): number {
    return this.#live(offset, 4)?.loadWord(this.#start + offset) ?? 0;
  }

  store16(offset: number, value: number): void {
    this.#live(offset, 2)?.store16(this.#start + offset, value);
  }

  copyOut(offset: number, into: Uint8Array, start: number, length: number): void {
    const view = this.#live(offset, length);
    if (view === undefined) into.fill(0, start, start + length);
    else view.copyOut(this.#start + offset, into, start, length);
  }

  copyIn(offset: number, from: Uint8Array, start: number, length: number): void {
    this.#live(offset, length)?.copyIn(this.#start + offset, from, start, length);
  }

  setBits(offset: number, bits: number): void {
    this.#live(offset, 1)?.setBits(this.#start + offset, bits);
  }

  takeByte(offset: number): number {
    return this.#live(offset, 1)?.takeByte(this.#start + offset) ?? 0;
  }

  slice(offset: number, length: number): MemoryView {
    this.#check(offset, length);
    return new RevocableView(this.#mapped, this.#start + offset, length);
  }

  #live(offset: number, length: number): MappedView | undefined {
    this.#check(offset, length);
    const { view, stale } = this.#mapped;
    if (view.length > 0) return view;
    stale();
    return undefined;
  }

  #check(offset: number, length: number): void {
    if (!(offset >= 0 && offset + length <= this.length)) {
      throw new RangeError(`offset ${offset} is outside this memory view`);
    }
  }
}
