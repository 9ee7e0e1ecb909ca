/** Something that is kept. */
export interface KeptItem {
  readonly key: string;
  readonly bytes: Uint8Array;
  /** Of whoever took the item. */
  readonly fds: number[];
}

/** What goes on record with bytes that were dealt with. */
export interface Notes {
  /** Forgets what is kept as these; `a*z` is all that begins with `a` and ends with `z`. Done first. */
  readonly drop?: readonly string[];
  /** Keeps the bytes that were dealt with, and the descriptors that came with them, in the place of what was kept as this. */
  readonly keep?: string | undefined;
  /** Keeps bytes of one's own, and descriptors, which stay the caller's, likewise. */
  readonly put?: readonly {
    readonly key: string;
    readonly bytes: Uint8Array;
    readonly fds?: readonly number[];
  }[];
}

/**
 * What another process keeps of a session, so that one in the next process can go on when this one dies, at any instruction: what was
 * received and not dealt with, and what the session has to know.
 */
export interface Keep {
  /** What was kept by earlier processes, the oldest first. Its descriptors are whoever's who takes this. */
  readonly kept: readonly KeptItem[];
  /**
   * The next `size` bytes that were received are dealt with. They are gone, the notes are on record and what was sent since the last call
   * is on its way, all of it; or nothing, when this process dies before.
   */
  settle(size: number, notes?: Notes): void;
}
