import { anything, checkOptions } from '../../virtio/check-options.js';
import type { Alarm } from '../../virtio/clock.js';
import { ConfigSpace } from '../../virtio/config-space.js';
import type { DeviceHost, DeviceQueue, VirtioDevice } from '../../virtio/device.js';
import type { MakeDevice } from '../../virtio/make-device.js';
import { StateFields } from '../../virtio/state-fields.js';
import { le64 } from '../../virtio/struct.js';
import type { Chain } from '../../virtqueue/chain.js';
import { KeptTimers } from './kept-timers.js';
import { armTimers, checkTimers, savedTimers } from './saved-timers.js';
import { Timers } from './timers.js';
import * as wire from './wire.js';

/** What `virtioMisc` is told. */
export interface MiscOptions {
  /** Timers that can be armed or undelivered at a time, 1 to 2^32 - 1. Default 65,536. */
  readonly maxTimers?: number;
}

/**
 * virtio-misc: the guest sets timers, the device notifies it when they expire; never early, once each, in deadline order.
 *
 * @returns makes the device, for each front-end anew.
 * @throws TypeError for options that nobody knows; RangeError for a number of timers that can't be.
 */
export function virtioMisc(options: MiscOptions = {}): MakeDevice {
  checkOptions(options, 'virtioMisc', { maxTimers: anything });
  const { maxTimers = 65_536 } = options;
  if (!Number.isInteger(maxTimers) || maxTimers < 1 || maxTimers > 0xffff_ffff) {
    throw new RangeError(`maxTimers is a whole number from 1 to 4294967295, not ${maxTimers}`);
  }
  return () => new MiscDevice(maxTimers);
}

/** Timers that are looked at in one turn, before others have theirs: a few ms. A notification takes as long as some of them. */
const TURN = 16_384;
const NOTIFICATION_WORK = 8;
/** ns after which it is looked again whether it is known what the driver was told. */
const LOOK_AGAIN = 1e6;
/** ns for which memory is kept after a peak: there may be another, and having it again costs more than all else. */
const KEEP = 1e9;

const { OK, UNSUPPORTED, INVALID, EXISTS, NOT_FOUND, NO_SPACE } = wire.STATUS;

class MiscDevice implements VirtioDevice {
  readonly id = wire.VIRTIO_ID_MISC;
  readonly name = 'virtio-misc';
  readonly features = wire.VIRTIO_MISC_F_CANCEL | wire.VIRTIO_MISC_F_PERIODIC | wire.VIRTIO_MISC_F_NSEC;
  readonly queues = [
    { name: 'controlq', size: 256 },
    { name: 'notifyq', size: 256 },
  ];
  readonly config = new ConfigSpace(wire.CONFIG.size);
  readonly #maxTimers: number;
  readonly #timers = new Timers();
  readonly #request = new DataView(new ArrayBuffer(wire.SET_TIMER_NS.size));
  readonly #requestBytes = new Uint8Array(this.#request.buffer);
  readonly #answer = new DataView(new ArrayBuffer(wire.NOTIFICATION.sizeWithCount));
  readonly #answerBytes = new Uint8Array(this.#answer.buffer);
  #host!: DeviceHost;
  #active = false;
  /** What outlives this process, where anything does. */
  #kept: KeptTimers | undefined;
  /** Timers to go on with, until there is a clock. */
  #restored: Uint8Array | undefined;
  #alarm!: Alarm;
  /** What the alarm is set to; setting it costs a system call. */
  #alarmAt: number | undefined;
  /** When memory is given back, if it is too much still. */
  #trimAt: number | undefined;

  constructor(maxTimers: number) {
    this.#maxTimers = maxTimers;
    this.config.view.setUint32(wire.CONFIG.max_timers, maxTimers, true);
  }

  activate(host: DeviceHost): void {
    this.#host = host;
    this.#active = true;
    this.#alarmAt = undefined;
    this.#trimAt = undefined;
    this.#alarm = host.clock.alarm(() => {
      this.#alarmAt = undefined;
      if (this.#goOn()) this.#deliver();
    });
    const memory = host.durable('timers.1', KeptTimers.headerBytes);
    this.#kept = memory.kept ? new KeptTimers(host) : undefined;
    const restored = this.#restored;
    this.#restored = undefined;
    if (this.#kept?.left === true) {
      this.#goOn();
      return;
    }
    const now = host.clock.now();
    if (restored !== undefined) armTimers(this.#timers, restored, now);
    this.#kept?.begin((arm) => this.#timers.forEach(arm));
    if (restored !== undefined) this.#wakeNow();
  }

  queueNotified(queue: DeviceQueue): void {
    if (!this.#goOn()) return;
    if (queue.index === wire.CONTROLQ) this.#answerAll(queue);
    this.#deliver();
  }

  reset(): void {
    this.#timers.clear();
    this.#restored = undefined;
    this.#kept = undefined;
    this.#active = false;
  }

  /** Timers by the time that is left: the clock of who goes on is another. */
  save(): unknown {
    this.#kept?.checkKnown();
    return { timers: this.#active ? savedTimers(this.#timers, this.#host.clock.now()) : this.#restored };
  }

  restore(state: unknown): void {
    const timers = new StateFields(state, 'virtio-misc').any('timers');
    if (timers !== undefined) this.#restored = checkTimers(timers, this.#maxTimers);
  }

  replaced(): void {
    this.#timers.clear();
    this.#kept = undefined;
    this.#alarm.clear();
  }

  /**
   * Goes on with what an earlier process left, as soon as it is known which timers the driver was told of: not before there is the queue by which
   * it is told.
   *
   * @returns whether all is known.
   */
  #goOn(): boolean {
    const kept = this.#kept;
    if (kept === undefined || !kept.left) return true;
    const arm = (id: number, deadline: number, interval: number) =>
      void this.#timers.arm(id, deadline, interval);
    if (!kept.goOn(this.#host.queues[wire.NOTIFYQ]!, arm)) {
      this.#alarm.set(this.#host.clock.now() + LOOK_AGAIN);
      return false;
    }
    // Requests may have come meanwhile.
    this.#answerAll(this.#host.queues[wire.CONTROLQ]!);
    this.#wakeNow();
    return true;
  }

  #answerAll(controlq: DeviceQueue): void {
    for (let chain = controlq.pop(); chain !== undefined; chain = controlq.pop())
      this.#answerRequest(controlq, chain);
  }

  /** Some timers may be due; those that are not have the alarm set then. */
  #wakeNow(): void {
    this.#alarmAt = this.#host.clock.now();
    this.#alarm.set(this.#alarmAt);
  }

  #answerRequest(queue: DeviceQueue, chain: Chain): void {
    const length = chain.read(this.#requestBytes);
    const status =
      this.#kept === undefined
        ? this.#carryOut(length)
        : this.#carryOutOnce(this.#kept, queue, chain, length);
    if (chain.writable >= wire.STATUS_SIZE) {
      this.#answer.setUint32(0, status, true);
      chain.write(this.#answerBytes, 0, wire.STATUS_SIZE);
    }
    queue.push(chain);
  }

  /** Carries a request out, unless an earlier process did that, whose answer it is then. */
  #carryOutOnce(kept: KeptTimers, queue: DeviceQueue, chain: Chain, length: number): wire.Status {
    const before = kept.asked(chain.head, queue.serialOf(chain));
    if (before !== undefined) return before as wire.Status;
    const status = this.#carryOut(length);
    // With another the answer is kept together with what was done.
    if (status !== OK) kept.answered(status);
    return status;
  }

  /** @param length - bytes of the request that there were, at most the longest request's. */
  #carryOut(length: number): wire.Status {
    const request = this.#request;
    if (length < 4) return INVALID;
    switch (request.getUint32(0, true)) {
      case wire.VIRTIO_MISC_SET_TIMER: {
        const { delay_ms, request_id, size } = wire.SET_TIMER;
        if (length < size) return INVALID;
        return this.#set(request.getUint32(request_id, true), request.getUint32(delay_ms, true) * 1e6, 0);
      }
      case wire.VIRTIO_MISC_CANCEL_TIMER:
        if (!this.#negotiated(wire.VIRTIO_MISC_F_CANCEL)) return UNSUPPORTED;
        if (length < wire.CANCEL_TIMER.size) return INVALID;
        return this.#cancel(request.getUint32(wire.CANCEL_TIMER.request_id, true));
      case wire.VIRTIO_MISC_SET_TIMER_NS: {
        const { request_id, delay_ns, interval_ns, size } = wire.SET_TIMER_NS;
        if (!this.#negotiated(wire.VIRTIO_MISC_F_NSEC)) return UNSUPPORTED;
        if (length < size) return INVALID;
        const interval = le64.read(request, interval_ns);
        if (interval > 0 && !this.#negotiated(wire.VIRTIO_MISC_F_PERIODIC)) return UNSUPPORTED;
        return this.#set(request.getUint32(request_id, true), le64.read(request, delay_ns), interval);
      }
      default:
        return UNSUPPORTED;
    }
  }

  /** @param delay - ns, as `interval`. */
  #set(id: number, delay: number, interval: number): wire.Status {
    if (this.#timers.size >= this.#maxTimers) return this.#timers.has(id) ? EXISTS : NO_SPACE;
    const deadline = this.#host.clock.now() + delay;
    if (!this.#timers.arm(id, deadline, interval)) return EXISTS;
    this.#kept?.armed(id, deadline, interval, OK);
    this.#host.print(() => {
      const again = interval > 0 ? `, then every ${ms(interval)}` : '';
      return `virtio-misc: timer ${id} set for ${ms(delay)}${again}`;
    });
    return OK;
  }

  #cancel(id: number): wire.Status {
    if (!this.#timers.cancel(id)) return NOT_FOUND;
    this.#kept?.cancelled(id, OK);
    this.#host.print(() => `virtio-misc: timer ${id} cancelled`);
    return OK;
  }

  /**
   * Notifies of what has expired, as far as the driver posted buffers for it and this turn goes, and sets the alarm for what comes next.
   * Without a buffer nothing can come next: one that is posted leads back here.
   */
  #deliver(): void {
    const notifyq = this.#host.queues[wire.NOTIFYQ]!;
    let now = this.#host.clock.now();
    let work = TURN;
    let next: number | undefined;
    for (;;) {
      if (!this.#timers.hasExpired) {
        work = this.#timers.expire(now, work);
        if (work > 0 && !this.#timers.hasExpired) {
          next = this.#timers.next;
          if (next === undefined) break;
          now = this.#host.clock.now();
          if (next > now) break;
          // It came meanwhile.
          work -= NOTIFICATION_WORK;
          continue;
        }
      }
      if (work <= 0) {
        next = now;
        break;
      }
      if (!this.#timers.hasExpired) continue;
      const chain = notifyq.pop();
      if (chain === undefined) break;
      work -= NOTIFICATION_WORK;
      if (chain.writable >= wire.NOTIFICATION.size) this.#notify(chain, now);
      else
        this.#host.warn(
          `a notification needs ${wire.NOTIFICATION.size} bytes, a buffer has ${chain.writable}: returned empty`,
        );
      notifyq.push(chain);
    }
    if (this.#kept?.anyOut === true) {
      notifyq.flush();
      this.#kept.settle(notifyq);
    }
    this.#wake(this.#tidy(now, next));
  }

  #wake(at: number | undefined): void {
    if (at === this.#alarmAt) return;
    this.#alarmAt = at;
    // Setting it takes longer than all else: the driver is told first.
    for (const queue of this.#host.queues) queue.flush();
    if (at === undefined) this.#alarm.clear();
    else this.#alarm.set(at);
  }

  /** Gives memory back that was too much for a while. @returns when to wake up, at `next` or for this. */
  #tidy(now: number, next: number | undefined): number | undefined {
    if (!this.#timers.hasSpare) {
      this.#trimAt = undefined;
      return next;
    }
    this.#trimAt ??= now + KEEP;
    if (now < this.#trimAt) return Math.min(next ?? Infinity, this.#trimAt);
    this.#timers.trim();
    this.#trimAt = undefined;
    return next;
  }

  #notify(chain: Chain, now: number): void {
    const expiry = this.#timers.deliver(now);
    if (expiry === undefined) return;
    const notifyq = this.#host.queues[wire.NOTIFYQ]!;
    this.#kept?.out(expiry.id, expiry.next, chain.head, notifyq.serialOf(chain));
    const { type, request_id, expirations, size, sizeWithCount } = wire.NOTIFICATION;
    this.#answer.setUint32(type, wire.VIRTIO_MISC_TIMER_EXPIRED, true);
    this.#answer.setUint32(request_id, expiry.id, true);
    le64.write(this.#answer, expirations, expiry.expirations);
    chain.write(this.#answerBytes, 0, chain.writable >= sizeWithCount ? sizeWithCount : size);
    this.#host.print(() => `virtio-misc: timer ${expiry.id} expired, late by ${ms(now - expiry.deadline)}`);
  }

  #negotiated(feature: bigint): boolean {
    return (this.#host.features & feature) !== 0n;
  }
}

/** @param ns - printed as ms, to the microsecond. */
function ms(ns: number): string {
  return `${Number((ns / 1e6).toFixed(3))} ms`;
}
