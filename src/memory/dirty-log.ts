/**
 * Hears of what this end writes to guest memory, for a peer that copies the memory meanwhile (live migration). `GuestMemory.dirtyLog` is the
 * one place where it is put in, whatever the transport: all rings and chains write through a `GuestMemory` or a view of it. Who writes in
 * another way, such as by messages to the peer, tells it too.
 */
export interface DirtyLog {
  /**
   * These bytes were written: it is called after the write, so that whoever takes the mark and then copies has what was written, or sees
   * the next mark.
   *
   * @param address - guest-physical.
   * @param length - 1 or more.
   */
  wrote(address: number, length: number): void;
}
