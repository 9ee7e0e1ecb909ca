import { StateError } from '../../virtio/saved-state.js';
import type { Timers } from './timers.js';

/** One timer: le32 id, le32 zero, then as IEEE 754 doubles the ns that are left (below 0 for one that is due) and the interval. */
const SAVED = { id: 0, left: 8, interval: 16, size: 24 } as const;

/** All timers as bytes, by what is left of each at `now`, in the order in which they are due. */
export function savedTimers(timers: Timers, now: number): Uint8Array {
  const bytes = new Uint8Array(SAVED.size * timers.size);
  const view = new DataView(bytes.buffer);
  let at = 0;
  timers.forEach((id, deadline, interval) => {
    view.setUint32(at + SAVED.id, id, true);
    view.setFloat64(at + SAVED.left, deadline - now, true);
    view.setFloat64(at + SAVED.interval, interval, true);
    at += SAVED.size;
  });
  return bytes;
}

/** Such bytes, looked at: any may be given. @param most - timers. @throws StateError when they can't be. */
export function checkTimers(bytes: unknown, most: number): Uint8Array {
  if (!(bytes instanceof Uint8Array) || bytes.length % SAVED.size !== 0) {
    throw new StateError('the timers of the state are none');
  }
  const count = bytes.length / SAVED.size;
  if (count > most) throw new StateError(`the state has ${count} timers, and there may be ${most}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const ids = new Set<number>();
  for (let at = 0; at < bytes.length; at += SAVED.size) {
    const [left, interval] = [
      view.getFloat64(at + SAVED.left, true),
      view.getFloat64(at + SAVED.interval, true),
    ];
    const id = view.getUint32(at + SAVED.id, true);
    if (ids.has(id) || !Number.isFinite(left) || !(interval >= 0 && Number.isFinite(interval))) {
      throw new StateError(`timer ${id} of the state can't be`);
    }
    ids.add(id);
  }
  return bytes;
}

/** Arms timers by what is left of each at `now`. @param bytes - checked. */
export function armTimers(timers: Timers, bytes: Uint8Array, now: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0; at < bytes.length; at += SAVED.size) {
    const deadline = now + view.getFloat64(at + SAVED.left, true);
    timers.arm(view.getUint32(at + SAVED.id, true), deadline, view.getFloat64(at + SAVED.interval, true));
  }
}
