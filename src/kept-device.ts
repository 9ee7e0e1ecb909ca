import type { Keep, KeptItem, Notes } from './transports/keep.js';
import { durableName } from './transports/kept-durable.js';
import { CLOCK } from './virtio/durable-store.js';
import { type Portrait, readPortrait } from './virtio/portrait.js';

/** What is kept beside the session: what the device goes on from, and that its driver started it. */
const ROOM = 'serve/';
const DEVICE = `${ROOM}device`;
const STARTED = `${ROOM}started`;

/** What the device in the next process is to go on from. */
export function keptDevice(portrait: Uint8Array): Notes {
  return { put: [{ key: DEVICE, bytes: portrait }] };
}

/** Durable memory that the program before did not keep true: one before that has left it. */
function staleOf(kept: readonly KeptItem[], { durable }: Portrait): KeptItem[] {
  return kept.filter((item) => {
    const name = durableName(item);
    if (name === undefined) return false;
    // The clock is of use with the rest alone.
    return name === CLOCK ? durable.length === 0 : !durable.includes(name);
  });
}

/** A device in a worker, and what workers before have left to be known of it. */
export class KeptDevice {
  /** What is kept, as the session has it: without what is not its own. */
  readonly sessions: Keep | undefined;
  /** What a worker before has left it to go on from. */
  readonly before: Portrait | undefined;
  /** Whether a driver has started it, in whichever process. */
  readonly started: boolean;
  #told = false;
  readonly #keep: Keep | undefined;

  /** @throws StateError when a portrait is kept that is none. */
  constructor(keep: Keep | undefined, closeFd: (fd: number) => void) {
    const of = (key: string): KeptItem | undefined => keep?.kept.find((item) => item.key === key);
    this.#keep = keep;
    this.started = of(STARTED) !== undefined;
    const portrait = of(DEVICE);
    this.before = portrait && readPortrait(portrait.bytes);
    const stale = new Set(
      keep === undefined || this.before === undefined ? [] : staleOf(keep.kept, this.before),
    );
    for (const { fds } of stale) for (const fd of fds) closeFd(fd);
    if (stale.size > 0) keep!.settle(0, { drop: [...stale].map(({ key }) => key) });
    this.sessions = keep && {
      kept: keep.kept.filter((item) => !item.key.startsWith(ROOM) && !stale.has(item)),
      settle: (size, notes) => keep.settle(size, notes),
    };
  }

  /** Its driver has started it: what it went on from is used up. */
  activated(): void {
    if (this.#told) return;
    this.#told = true;
    if (this.before !== undefined || !this.started)
      this.#keep?.settle(0, { drop: [DEVICE], put: [{ key: STARTED, bytes: new Uint8Array() }] });
  }
}
