import type { Channel, ChannelHandler } from '../../transports/ports.js';

/** Keeps all that a channel delivers, for a test to wait for and look at. */
export class Inbox implements ChannelHandler {
  /** Each read by itself. */
  readonly reads: { readonly text: string; readonly fds: readonly number[] }[] = [];
  /** How often the channel said that it closed. */
  closes = 0;
  error: Error | undefined;
  #wake: () => void = () => {};

  constructor(channel: Channel) {
    channel.receive(this);
  }

  /** All bytes, as Latin-1 text. */
  get text(): string {
    return this.reads.map((read) => read.text).join('');
  }

  get fds(): readonly number[] {
    return this.reads.flatMap((read) => read.fds);
  }

  received(bytes: Uint8Array, fds: readonly number[]): void {
    this.reads.push({ text: Buffer.from(bytes).toString('latin1'), fds });
    this.#wake();
  }

  closed(error?: Error): void {
    this.closes++;
    this.error = error;
    this.#wake();
  }

  /** Resolves when `done` holds after something arrived. */
  async until(done: () => boolean): Promise<void> {
    while (!done()) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
