import fc from 'fast-check';
import { le32, le64, struct } from '../../virtio/struct.js';
import type { DeviceBench } from '../../virtio/testing/device-bench.js';

/** What a driver of virtio-misc may do, and what time may do to it. */
const step = fc.oneof(
  fc.record({ does: fc.constant('set' as const), id: fc.nat(5), ms: fc.nat(30) }),
  fc.record({ does: fc.constant('every' as const), id: fc.nat(5), ms: fc.integer({ min: 1, max: 30 }) }),
  fc.record({ does: fc.constant('cancel' as const), id: fc.nat(5) }),
  fc.record({
    does: fc.constant('post' as const),
    count: fc.integer({ min: 1, max: 4 }),
    room: fc.constantFrom(8, 16, 32),
  }),
  fc.record({ does: fc.constant('wait' as const), us: fc.nat(40_000) }),
  fc.constant({ does: 'reset' as const }),
  fc.constant({ does: 'garbage' as const }),
);

type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

const words = struct({ type: le32, a: le32, b: le32 });
const ns = struct({ type: le32, id: le32, delay: le64, interval: le64 });

/** Has a driver on a bench do anything with timers: what it does, for `recordBench`. */
export const timerWork: fc.Arbitrary<(bench: DeviceBench) => void> = fc
  .array(step, { maxLength: 40 })
  .map((steps) => (bench) => work(bench, steps));

function work(bench: DeviceBench, steps: readonly Step[]): void {
  let posted = 0;
  for (const each of steps) {
    if (each.does === 'set') bench.ask('controlq', words.encode({ type: 1, a: each.ms, b: each.id }), 4);
    else if (each.does === 'every')
      bench.ask(
        'controlq',
        ns.encode({ type: 3, id: each.id, delay: each.ms * 1e6, interval: each.ms * 1e6 }),
        4,
      );
    else if (each.does === 'cancel') bench.ask('controlq', words.encode({ type: 2, a: 0, b: each.id }), 4);
    else if (each.does === 'garbage') bench.ask('controlq', Uint8Array.of(9, 9, 9, 9, 9), 4);
    else if (each.does === 'wait') bench.advance(each.us * 1000 + 123);
    else if (each.does === 'reset') {
      bench.reset();
      bench.start();
      posted = 0;
    } else if (posted + each.count <= 200) {
      posted += each.count;
      bench.post('notifyq', each.room, each.count);
    }
  }
}
