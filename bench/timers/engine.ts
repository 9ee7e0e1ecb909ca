/*
 * What the timers cost without a ring: `engine.js TIMERS MS` arms, cancels, arms and expires that many again and again for MS. Prints
 * nanoseconds of the processor for each, and bytes, as JSON. The same as `timers-heap.c` does.
 */
import { Timers } from '../../src/devices/misc/timers.js';

const [count = 1000, span = 100] = process.argv.slice(2).map(Number);
const SLICE = 16_384;
const deadlines = new Float64Array(count);
const timers = new Timers();
const spent = { arm: 0, cancel: 0, expire: 0 };
let base = 0;
let bytes = 0;

function armAll(): void {
  for (let id = 0; id < count; id++) timers.arm(id, deadlines[id]!, 0);
}

function expireAll(): void {
  const now = base + 1e9;
  let last = 0;
  let expired = 0;
  for (let left = 1; expired < count; ) {
    left = timers.expire(now, SLICE);
    for (let expiry = timers.deliver(now); expiry !== undefined; expiry = timers.deliver(now)) {
      if (expiry.deadline < last) throw new Error('out of order');
      last = expiry.deadline;
      expired += 1;
    }
    if (left > 0 && expired < count && !timers.hasExpired && timers.next === undefined)
      throw new Error('lost');
  }
}

/** us of the processor. */
function measure(call: () => void): number {
  const before = process.cpuUsage();
  call();
  const { user, system } = process.cpuUsage(before);
  return user + system;
}

/** Many times in one measurement where one is short, because the processor's time is counted in us. */
function round(): void {
  base += 2e9;
  timers.expire(base, SLICE);
  for (let id = 0; id < count; id++) deadlines[id] = base + 1 + Math.floor(Math.random() * 1e9);
  spent.arm += measure(armAll);
  bytes = timers.bytes / count;
  spent.cancel += measure(() => {
    for (let id = 0; id < count; id++) timers.cancel(id);
  });
  armAll();
  spent.expire += measure(expireAll);
}

// What is compiled while it runs is compiled now.
const warm = process.hrtime.bigint() + BigInt(span * 1e6);
do round();
while (process.hrtime.bigint() < warm);
spent.arm = 0;
spent.cancel = 0;
spent.expire = 0;
let rounds = 0;
const end = process.hrtime.bigint() + BigInt(span * 1e6);
do {
  round();
  rounds += 1;
} while (process.hrtime.bigint() < end);
const each = (us: number): number => (us * 1e3) / (rounds * count);
console.log(
  JSON.stringify({ arm: each(spent.arm), cancel: each(spent.cancel), expire: each(spent.expire), bytes }),
);
