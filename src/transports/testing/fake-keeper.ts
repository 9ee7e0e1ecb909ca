import type { Keep, KeptItem, Notes } from '../keep.js';
import type { Channel } from '../ports.js';
import type { FakeOs } from './fake-os.js';

/** Keeps what sessions leave behind, over the ends of their processes. */
export class FakeKeeper {
  readonly #os: FakeOs;
  readonly #items = new Map<string, KeptItem>();
  /** What a front-end said and no session settled, with its descriptors. */
  #said: { bytes: Uint8Array; fds: number[] }[] = [];
  #process = 0;

  constructor(os: FakeOs) {
    this.#os = os;
  }

  get keys(): string[] {
    return [...this.#items.keys()].sort();
  }

  /** Hears what the front-end says: each call is one message. */
  listen(frontend: Channel): void {
    const send = frontend.send.bind(frontend);
    frontend.send = (bytes, fds = []) => {
      this.#said.push({ bytes: bytes.slice(), fds: fds.map((fd) => this.#os.duplicate(fd)) });
      send(bytes, fds);
    };
  }

  /** For the next process. What the one before settles from now on has no effect. */
  next(): Keep {
    this.#process += 1;
    const process = this.#process;
    return {
      kept: [...this.#items.values()].map(({ key, bytes, fds }) => ({
        key,
        bytes,
        fds: fds.map((fd) => this.#os.duplicate(fd)),
      })),
      settle: (size, notes) => {
        if (process === this.#process) this.#settle(size, notes);
      },
    };
  }

  close(): void {
    this.#process += 1;
    this.#drop('*');
    for (const { fds } of this.#said.splice(0)) for (const fd of fds) this.#os.closeFd(fd);
  }

  #settle(size: number, { drop = [], keep, put = [] }: Notes = {}): void {
    for (const key of drop) this.#drop(key);
    if (size > 0) {
      const { bytes, fds } = this.#said.shift()!;
      if (bytes.length !== size)
        throw new Error(`${size} bytes were settled of a message of ${bytes.length}`);
      if (keep === undefined) for (const fd of fds) this.#os.closeFd(fd);
      else this.#put({ key: keep, bytes, fds });
    }
    for (const { key, bytes, fds = [] } of put)
      this.#put({ key, bytes: bytes.slice(), fds: fds.map((fd) => this.#os.duplicate(fd)) });
  }

  #put(item: KeptItem): void {
    this.#drop(item.key);
    this.#items.set(item.key, item);
  }

  #drop(pattern: string): void {
    const [head, tail] = pattern.split('*');
    for (const [key, { fds }] of this.#items) {
      const fits = tail === undefined ? key === head : key.startsWith(head!) && key.endsWith(tail);
      if (!fits) continue;
      this.#items.delete(key);
      for (const fd of fds) this.#os.closeFd(fd);
    }
  }
}
