import type { EventPort, Os } from '../../ports.js';
import { encodeRegionIoFds } from '../codec.js';
import { MESSAGE_FDS_MOST } from '../framing.js';

/** What the doorbells are of. */
export interface DoorbellPorts {
  readonly os: Os;
  /** Where each queue's notification register is in its region. */
  readonly offsets: readonly number[];
  /** The driver rang for these queues. */
  rang(queues: readonly number[]): void;
}

/**
 * Eventfds for a client that asks for them (DEVICE_GET_REGION_IO_FDS): it, or its KVM, signals one where it would otherwise send a
 * REGION_WRITE of a queue's notification register. Writes that come as messages are as good as before.
 */
export class Doorbells {
  readonly #ports: DoorbellPorts;
  #events: EventPort[] = [];

  constructor(ports: DoorbellPorts) {
    this.#ports = ports;
  }

  /**
   * What the answer holds: an ioeventfd for each queue; several queues have the same where the client takes fewer descriptors in a message.
   * Made when they are asked for first.
   *
   * @param room - bytes that the answer may have: with less than it takes, it says how many those are, and no more.
   */
  answer(region: number, room: number, most: number): { payload: Uint8Array; fds: readonly number[] } {
    const { os, offsets } = this.#ports;
    const count = Math.min(offsets.length, most, MESSAGE_FDS_MOST);
    if (count === 0) return { payload: encodeRegionIoFds(region, [], room), fds: [] };
    if (this.#events.length === 0) {
      for (let index = 0; index < count; index++) this.#events.push(os.createEvent());
      this.#watch();
    }
    const payload = encodeRegionIoFds(
      region,
      // Of any size: drivers write two bytes or four.
      offsets.map((offset, queue) => ({ offset, size: 0, fdIndex: queue % count })),
      room,
    );
    const whole = payload.length > encodeRegionIoFds(region, [], room).length;
    return { payload, fds: whole ? this.#events.map(({ fd }) => fd) : [] };
  }

  /** Those that there are. */
  get fds(): readonly number[] {
    return this.#events.map(({ fd }) => fd);
  }

  /** Goes on with those that a process before made, and a client has. @param fds - taken over. */
  resume(fds: readonly number[]): void {
    for (const fd of fds) this.#events.push(this.#ports.os.adoptEvent(fd));
    this.#watch();
  }

  #watch(): void {
    const { offsets, rang } = this.#ports;
    const count = this.#events.length;
    for (const [index, event] of this.#events.entries()) {
      const queues = offsets.map((_, queue) => queue).filter((queue) => queue % count === index);
      event.watch(() => rang(queues));
    }
  }

  close(): void {
    for (const event of this.#events.splice(0)) event.close();
  }
}
