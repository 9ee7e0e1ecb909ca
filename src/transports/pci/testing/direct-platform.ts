import type { VirtioPciFunction } from '../device/virtio-function.js';
import type { PciPlatform } from '../driver/pci-platform.js';

/** A function that a driver reaches by calls. `raise` and `intx` are for the function's host to call. */
export class DirectPlatform implements PciPlatform {
  readonly name = 'direct';
  /** Set once the function is made, which needs a host first. */
  function!: VirtioPciFunction;
  /** Accesses so far. */
  accesses = 0;
  closed = false;
  #handlers: readonly (() => void)[] = [];
  #line = false;
  #masked = false;
  #intx: (done: () => void) => void = () => {};

  async readConfig(offset: number, length: number): Promise<Uint8Array> {
    this.accesses += 1;
    return this.function.readConfig(offset, length);
  }

  async writeConfig(offset: number, bytes: Uint8Array): Promise<void> {
    this.accesses += 1;
    this.function.writeConfig(offset, bytes);
  }

  async readBar(bar: number, offset: number, length: number): Promise<Uint8Array> {
    this.accesses += 1;
    return this.function.readBar(bar, offset, length);
  }

  async writeBar(bar: number, offset: number, bytes: Uint8Array): Promise<void> {
    this.postBar(bar, offset, bytes);
  }

  postBar(bar: number, offset: number, bytes: Uint8Array): void {
    this.accesses += 1;
    this.function.writeBar(bar, offset, bytes);
  }

  async connectVectors(handlers: readonly (() => void)[]): Promise<void> {
    this.#handlers = handlers;
  }

  async connectIntx(handler: (done: () => void) => void): Promise<void> {
    this.#intx = handler;
  }

  raise(vector: number): void {
    queueMicrotask(() => this.#handlers[vector]?.());
  }

  intx(asserted: boolean): void {
    this.#line = asserted;
    this.#deliver();
  }

  async pause(): Promise<void> {}

  onLost(): void {}

  close(): void {
    this.closed = true;
  }

  #deliver(): void {
    if (!this.#line || this.#masked) return;
    this.#masked = true;
    queueMicrotask(() =>
      this.#intx(() => {
        this.#masked = false;
        this.#deliver();
      }),
    );
  }
}
