import type { InspectEvent } from './observe/event.js';
import { EventStream, KEPT } from './observe/event-stream.js';
import type { Server } from './serve.js';
import type { Abortable } from './virtio/abortable.js';
import { aSignal, checkOptions, type OptionRule } from './virtio/check-options.js';

/** How much `inspect` tells. */
export interface InspectOptions extends Abortable {
  /** Bytes of each chain, each way: 4096 unless told. */
  readonly bytes?: number;
  /** Bytes that wait for you at most, with some 256 for each event: 16 MiB unless told. */
  readonly keep?: number;
}

const aSize: OptionRule = (value) =>
  Number.isSafeInteger(value) && (value as number) >= 0 ? undefined : 'a number of bytes';

/**
 * All that passes between drivers and devices: `for await (const event of inspect(server))`. The connections that come from now on are told of,
 * from their first event to their last, until the server is closed.
 *
 * Nothing waits for who reads: what there is no room for is left out, and a `dropped` event says how many there were. While nobody inspects,
 * nothing is done for it.
 *
 * @throws TypeError for options that can't be meant; the signal's reason.
 */
export function inspect(
  server: Pick<Server, 'observe'>,
  options: InspectOptions = {},
): AsyncIterableIterator<InspectEvent> {
  checkOptions(options, 'inspect', { bytes: aSize, keep: aSize, signal: aSignal });
  const { bytes = 4096, keep = KEPT, signal } = options;
  let leave = (): void => {};
  const stream = new EventStream(keep, () => leave(), signal === undefined ? {} : { signal });
  leave = server.observe({ hear: stream.hear, bytes, closed: () => stream.end() });
  return stream;
}
