import type { Keep, KeptItem, Notes } from '../keep.js';
import type { Channel, ChannelHandler } from '../ports.js';
import type { Session } from '../session.js';
import type { FakeOs } from './fake-os.js';

/** What another process keeps of a session, in this one: `die` ends the session and starts the next. */
export class MortalSession {
  readonly #os: FakeOs;
  readonly #channel: Channel;
  readonly #start: (channel: Channel, keep: Keep) => Session;
  readonly #items = new Map<string, KeptItem>();
  /** What came and was not dealt with. */
  #pieces: { bytes: Uint8Array; fds: number[] }[] = [];
  #handler: ChannelHandler | undefined;
  readonly #unsent: { bytes: Uint8Array; fds: readonly number[] }[] = [];
  #session: Session;
  /** Sessions before this one say what they like. */
  #life = 0;
  /** How often something was settled. */
  settles = 0;

  /** @param start - starts a session, with a device that starts afresh. */
  constructor(os: FakeOs, channel: Channel, start: (channel: Channel, keep: Keep) => Session) {
    this.#os = os;
    this.#channel = channel;
    this.#start = start;
    channel.receive({
      received: (bytes, fds) => {
        const piece = { bytes: bytes.slice(), fds: [...fds] };
        this.#pieces.push(piece);
        this.#deliver(piece);
      },
      closed: (error) => this.#handler?.closed(error),
    });
    this.#session = this.#serve();
  }

  get session(): Session {
    return this.#session;
  }

  /** Keys of what is kept. */
  get keys(): readonly string[] {
    return [...this.#items.keys()].sort();
  }

  /** The process is another one from now on. */
  die(): void {
    this.#life += 1;
    this.#handler = undefined;
    this.#forgetUnsent();
    this.#session.close();
    this.#session = this.#serve();
    for (const piece of this.#pieces) this.#deliver(piece);
  }

  close(): void {
    this.#life += 1;
    this.#session.close();
    this.#channel.close();
    for (const { fds } of [...this.#items.values(), ...this.#pieces])
      for (const fd of fds) this.#os.closeFd(fd);
    this.#items.clear();
  }

  #deliver({ bytes, fds }: { bytes: Uint8Array; fds: readonly number[] }): void {
    this.#handler?.received(
      bytes,
      fds.map((fd) => this.#os.duplicate(fd)),
    );
  }

  #serve(): Session {
    const life = this.#life;
    const alive = (): boolean => life === this.#life;
    const kept = [...this.#items.values()].map(({ key, bytes, fds }) => ({
      key,
      bytes: bytes.slice(),
      fds: fds.map((fd) => this.#os.duplicate(fd)),
    }));
    const channel: Channel = {
      receive: (handler) => {
        this.#handler = handler;
      },
      send: (bytes, fds = []) => {
        if (!alive()) return;
        // They are closed before it is sent.
        this.#unsent.push({ bytes: bytes.slice(), fds: fds.map((fd) => this.#os.duplicate(fd)) });
        this.#os.defer(() => {
          if (alive() && this.#unsent.length > 0) this.#settle(0, {});
        });
      },
      pause: () => {},
      resume: () => {},
      close: () => {},
    };
    const keep: Keep = {
      kept,
      settle: (size, notes = {}) => {
        if (alive()) this.#settle(size, notes);
      },
    };
    return this.#start(channel, keep);
  }

  #settle(size: number, { drop = [], keep, put = [] }: Notes): void {
    this.settles += 1;
    for (const key of drop) this.#drop(key);
    const taken = this.#take(size);
    if (keep !== undefined) this.#put({ key: keep, ...taken });
    else for (const fd of taken.fds) this.#os.closeFd(fd);
    for (const { key, bytes, fds = [] } of put)
      this.#put({ key, bytes: bytes.slice(), fds: fds.map((fd) => this.#os.duplicate(fd)) });
    for (const { bytes, fds } of this.#unsent) this.#channel.send(bytes, fds);
    this.#forgetUnsent();
  }

  #forgetUnsent(): void {
    for (const { fds } of this.#unsent.splice(0)) for (const fd of fds) this.#os.closeFd(fd);
  }

  #take(size: number): { bytes: Uint8Array; fds: number[] } {
    const bytes: number[] = [];
    const fds: number[] = [];
    while (bytes.length < size) {
      const [piece] = this.#pieces;
      if (piece === undefined) throw new Error(`${size} bytes were dealt with, and ${bytes.length} came`);
      const part = piece.bytes.subarray(0, size - bytes.length);
      bytes.push(...part);
      fds.push(...piece.fds.splice(0));
      piece.bytes = piece.bytes.subarray(part.length);
      if (piece.bytes.length === 0) this.#pieces.shift();
    }
    return { bytes: Uint8Array.from(bytes), fds };
  }

  #put(item: KeptItem): void {
    this.#drop(item.key);
    this.#items.set(item.key, item);
  }

  #drop(key: string): void {
    const [head, tail] = key.split('*');
    for (const item of [...this.#items.values()]) {
      const same =
        tail === undefined ? item.key === key : item.key.startsWith(head!) && item.key.endsWith(tail);
      if (!same) continue;
      this.#items.delete(item.key);
      for (const fd of item.fds) this.#os.closeFd(fd);
    }
  }
}
