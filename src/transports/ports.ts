import type { MemoryView } from '../memory/memory-view.js';

/*
 * What a transport needs of an operating system, as ports: `linux/` implements them, tests fake them.
 * A file descriptor is a plain number; whoever receives one owns it and hands it to exactly one of `adoptEvent`,
 * `adoptChannel`, `map` or `closeFd`.
 */

/** A connected stream socket that carries file descriptors. */
export interface Channel {
  /** Says who gets what arrives. Nothing is delivered before this. */
  receive(handler: ChannelHandler): void;
  /**
   * Sends all bytes in order, and the descriptors with the first of them. The bytes are copied; the descriptors stay
   * the caller's and may be closed after the call. Never blocks; ignored after the channel closed.
   */
  send(bytes: Uint8Array, fds?: readonly number[]): void;
  /** Leaves what the peer sends in the socket, and a hang-up unseen, until `resume`. */
  pause(): void;
  resume(): void;
  /** Closes it. `closed` is not called for a close of our own. Safe to call twice. */
  close(): void;
}

export interface ChannelHandler {
  /**
   * Some bytes, valid during this call only, and the descriptors that arrived with them. The kernel ends a read behind
   * the first piece that carried descriptors, so they belong to the last send that begins in `bytes`, not to the first.
   */
  received(bytes: Uint8Array, fds: readonly number[]): void;
  /** The other side is gone, or the socket failed. Nothing follows. */
  closed(error?: Error): void;
}

/** An eventfd, ours or one that a peer handed over. */
export interface EventPort {
  /** The descriptor, to send to a peer. */
  readonly fd: number;
  /** Adds one to it. Never blocks and never fails, whatever the peer made of it. */
  signal(): void;
  /** Calls back (from the event loop, several signals possibly as one) after each signal from now on, and for one already there. */
  watch(ring: () => void): void;
  /** Whether both are one eventfd, so that a signal to this one rings the other. Neither was closed. */
  isSame(other: EventPort): boolean;
  /** Stops watching and closes the descriptor. Safe to call twice. */
  close(): void;
}

/** A file that is mapped, shared, into this process. */
export interface Mapping {
  /** Bytes. */
  readonly size: number;
  /** The mapped bytes, however large (windows are the implementation's affair); slices of up to 1 MiB are contiguous. */
  readonly view: MemoryView;
  /** Which file it is of: the same for two mappings of one file, whatever the descriptor. */
  readonly file: string;
  /** Gives the memory back. Views that are still held read zeros from now on. Safe to call twice. */
  release(): void;
}

/** Bytes on their way through a pipe. */
export interface Transfer {
  /** Closes our end. Nothing is called back after this. Safe to call twice, and when it is over. */
  end(): void;
}

/** The operating system. */
export interface Os {
  /** Makes an eventfd. */
  createEvent(): EventPort;
  /**
   * Takes over a descriptor that should be an eventfd.
   *
   * @throws OsError when it can't serve as one (then it is closed).
   */
  adoptEvent(fd: number): EventPort;
  /** Makes a connected pair: one end to use, and the other's descriptor, the caller's, to send to a peer. */
  createChannel(): { readonly channel: Channel; readonly fd: number };
  /**
   * Takes over a descriptor that should be one of a connected pair of stream sockets (which have no names).
   *
   * @param shared - another process has it, too, for which it lives on when the channel is closed.
   * @throws OsError when it is none (then it is closed).
   */
  adoptChannel(fd: number, shared?: boolean): Channel;
  /**
   * Maps `size` bytes of a file from `offset` for reading and writing, and closes the descriptor in any case.
   *
   * @param readOnly - for reading alone, which a descriptor that can't be written to allows. Writing to it is then up to nobody.
   * @throws OsError when the file is too short, or can't be mapped.
   */
  map(fd: number, offset: number, size: number, readOnly?: boolean): Mapping;
  /** Makes shared memory: the caller owns the descriptor, which can't be shrunk. */
  createMemory(name: string, size: number): { readonly fd: number; readonly mapping: Mapping };
  /** Makes a pipe: both ends are the caller's. */
  createPipe(): { readonly reader: number; readonly writer: number };
  /**
   * Takes over a descriptor that should be the writing end of a pipe (or a stream socket), writes all bytes, whenever there is room, and closes it.
   *
   * @param bytes - not to be changed meanwhile.
   * @param done - called once, not from inside this call: with what went wrong, if anything did.
   * @throws OsError when it can't be one (then it is closed).
   */
  writePipe(fd: number, bytes: Uint8Array, done: (error?: Error) => void): Transfer;
  /**
   * Takes over a descriptor that should be the reading end of a pipe (or a stream socket), reads until the other one is closed, and closes it.
   *
   * @param most - bytes; more are an error.
   * @param done - called once, not from inside this call: with all bytes, or with what went wrong.
   * @throws OsError when it can't be one (then it is closed).
   */
  readPipe(fd: number, most: number, done: (result: Uint8Array | Error) => void): Transfer;
  closeFd(fd: number): void;
}
