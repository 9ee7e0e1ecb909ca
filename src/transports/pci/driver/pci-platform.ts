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
