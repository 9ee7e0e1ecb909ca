import type { Mapping } from '../../ports.js';

/** How a driver reaches the registers of one PCI function. Every promise rejects with a `TransportError` once it is gone. */
export interface PciAccess {
  readConfig(offset: number, length: number): Promise<Uint8Array>;
  writeConfig(offset: number, bytes: Uint8Array): Promise<void>;
  readBar(bar: number, offset: number, length: number): Promise<Uint8Array>;
  writeBar(bar: number, offset: number, bytes: Uint8Array): Promise<void>;
}

/** What stands between a driver and a PCI function: a bus with its registers and its interrupts. */
export interface PciPlatform extends PciAccess {
  /** For messages. */
  readonly name: string;
  /** As `writeBar`, without hearing of its end. Never blocks, never throws. */
  postBar(bar: number, offset: number, bytes: Uint8Array): void;
  /**
   * Maps all of a BAR into this process, where that can be: the caller's to release. Absent where it never can.
   *
   * @param size - bytes that the BAR has.
   * @returns `undefined` where it is reached by `readBar` and `writeBar` only.
   */
  mapBar?(bar: number, size: number): Promise<Mapping | undefined>;
  /** Says who hears of each MSI-X vector, from the event loop. */
  connectVectors(handlers: readonly (() => void)[]): Promise<void>;
  /** Says who hears of the INTx line, from the event loop; not again before `done` is called. */
  connectIntx(handler: (done: () => void) => void): Promise<void>;
  /** Resolves after that many ms. */
  pause(ms: number): Promise<void>;
  /** Says who hears, once, that the function is gone. Called at once when it already is. */
  onLost(lost: (error: Error) => void): void;
  /** Lets it go. Safe to call twice. */
  close(): void;
}
