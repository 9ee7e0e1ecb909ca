import type { MemoryView } from '../memory/memory-view.js';

/** How a device's clock goes on from: it goes, and was 0 at a time of the machine's clock; or it stands, at a time of its own. In ns. */
export interface ClockState {
  readonly running: boolean;
  readonly ns: number;
}

/** The state of a device's clock, in memory that outlives a process. */
export interface KeptClock {
  /** @returns `undefined` when nothing was saved. */
  load(): ClockState | undefined;
  save(state: ClockState): void;
}

/** le32: what counts: 0 for nothing; else 1, with 2 for the second place, and 4 for a clock that goes. Two places with a double each. */
const COUNTS = 0;
const SECOND = 2;
const RUNNING = 4;
const PLACES = [8, 16] as const;

/** @param view - 24 bytes. Each store leaves one whole state. */
export function keptClock(view: MemoryView): KeptClock {
  const double = new DataView(new ArrayBuffer(8));
  return {
    load() {
      const counts = view.read32(COUNTS);
      if (counts === 0) return undefined;
      const place = PLACES[(counts & SECOND) === 0 ? 0 : 1];
      double.setUint32(0, view.read32(place), true);
      double.setUint32(4, view.read32(place + 4), true);
      return { running: (counts & RUNNING) !== 0, ns: double.getFloat64(0, true) };
    },
    save({ running, ns }) {
      const second = view.read32(COUNTS) !== 0 && (view.read32(COUNTS) & SECOND) === 0;
      const place = PLACES[second ? 1 : 0];
      double.setFloat64(0, ns, true);
      view.write32(place, double.getUint32(0, true));
      view.write32(place + 4, double.getUint32(4, true));
      view.write32(COUNTS, 1 | (second ? SECOND : 0) | (running ? RUNNING : 0));
    },
  };
}
