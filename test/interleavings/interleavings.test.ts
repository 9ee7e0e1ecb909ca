import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { driveByBufferQueue } from './buffer-queue.js';
import type { Order } from './buffers.js';
import type { Scene, Shape } from './ends.js';
import { FAULTS } from './plants.js';
import { type Code, play } from './play.js';
import { serveByHeld, serveByPolling, serveByRunner } from './runner.js';

/*
 * Both ends of a small ring, and every order in which their accesses to it can happen: no wake-up is lost, nothing is read before it is
 * written, each request is answered once with its own bytes. The code is that of src/virtqueue, not a model of it.
 */

const ORDERS: Readonly<Record<Order, string>> = {
  sc: 'one access after the other',
  tso: 'with store buffers, as x86 has them',
  pso: 'with stores that pass each other',
};
const SECTIONS = { split: '2.7.13, 2.7.14', packed: '2.8.21, 2.8.22' };

/** What fills a ring of this size in different ways. A chain of two descriptors has no place in a ring of one. */
function requestsFor(size: number, count: number): Shape[] {
  const shapes: Shape[] = size === 1 ? ['in', 'out'] : ['pair', 'in', 'out'];
  return Array.from({ length: count }, (_, i) => shapes[i % shapes.length]!);
}

function nameOf({ layout, size, eventIdx, suppress, requests, ...more }: Scene): string {
  const ring = `${requests.length} requests over a ${layout} ring of ${size}`;
  const told = `${eventIdx ? 'with' : 'without'} EVENT_IDX${suppress ? '' : ', nobody ever quiet'}`;
  const others = Object.entries(more).map(([key, value]) =>
    value === true ? `, ${key}` : `, ${key} ${value}`,
  );
  return `${ring}, ${told}${others.join('')}`;
}

function holds(scene: Scene, order: Order, code?: { driver?: Code; device?: Code }): void {
  const { fault, states, places } = play(scene, order, {}, code);
  assert.equal(fault, undefined, `${fault?.text}:\n${fault?.steps.join('\n')}`);
  // Both ends came to their ends, in more orders than one.
  assert.ok(states > 200 && places.every((count) => count > 30), `${states} states, ${places} places`);
}

const scenes: Scene[] = (['split', 'packed'] as const).flatMap((layout) =>
  (layout === 'split' ? [1, 2] : [1, 2, 3]).flatMap((size) =>
    [false, true].flatMap((eventIdx) =>
      [true, false].map(
        (suppress): Scene => ({
          layout,
          size,
          eventIdx,
          suppress,
          requests: requestsFor(size, size === 1 ? 2 : 3),
        }),
      ),
    ),
  ),
);

/** The same with what else a ring can be: two or three chains at a time, places where the indices wrap, words. */
const variants: Scene[] = (['split', 'packed'] as const).flatMap((layout) =>
  [false, true].flatMap((eventIdx): Scene[] => {
    const common = { layout, size: 2, eventIdx, suppress: true } as const;
    const pairs: Shape[] = ['pair', 'pair', 'pair'];
    const base = layout === 'split' ? 0xffff : 0x0001_0001;
    return [
      { ...common, requests: pairs, indirect: true },
      { ...common, requests: ['pair', 'pair'], indirect: true, each: true, byWords: true },
      { ...common, requests: pairs, indirect: true, backwards: true },
      { ...common, requests: pairs, indirect: true, backwards: true, inOrder: true },
      { ...common, requests: ['in', 'in', 'out'], inOrder: true, base },
      { ...common, requests: ['out', 'in', 'out'], base, byWords: true },
    ];
  }),
);

for (const order of ['sc', 'tso'] as const) {
  describe(ORDERS[order], () => {
    // What can happen at once can happen with store buffers too, so the longer ones are not tried twice.
    for (const scene of order === 'sc' ? scenes : [...scenes, ...variants]) {
      test(`${SECTIONS[scene.layout]}: ${nameOf(scene)}`, () => holds(scene, order));
    }
  });
}

describe(ORDERS.pso, () => {
  for (const scene of scenes.filter(({ size }) => size < 3)) {
    const fewer = { ...scene, requests: requestsFor(scene.size, 2) };
    test(`${SECTIONS[scene.layout]}: ${nameOf(fewer)}`, () => holds(fewer, 'pso'));
  }
});

for (const [who, device] of [
  ['by DeviceRunner', serveByRunner],
  ['by DeviceRunner, with polling', serveByPolling],
] as const) {
  describe(`${ORDERS.tso}, the device run ${who}`, () => {
    for (const layout of ['split', 'packed'] as const) {
      for (const eventIdx of [false, true]) {
        for (const indirect of [false, true]) {
          const requests: Shape[] = indirect ? ['pair', 'pair', 'pair'] : ['pair', 'pair'];
          const scene: Scene = { layout, size: 2, eventIdx, suppress: true, requests, indirect };
          test(`${SECTIONS[layout]}: ${nameOf(scene)}`, () => holds(scene, 'tso', { device }));
        }
        const wish = layout === 'packed' ? 'device.flags' : eventIdx ? 'avail_event' : 'used.flags';
        const ready = layout === 'packed' ? 'desc.flags' : 'avail.idx';
        test(`${SECTIONS[layout]}: a ${layout} ring, ${eventIdx ? 'with' : 'without'} EVENT_IDX, is looked at before ${wish} is written: it goes wrong`, () => {
          const scene: Scene = { layout, size: 2, eventIdx, suppress: true, requests: ['pair', 'pair'] };
          const late = { what: [wish], after: `read ${ready}` };
          const { fault } = play(scene, 'sc', { device: { late } }, { device });
          assert.match(fault?.text ?? '', /lost wake-up/);
        });
      }
    }
  });
}

describe(`${ORDERS.tso}, a person holds the ring and lets it go`, () => {
  for (const layout of ['split', 'packed'] as const) {
    for (const eventIdx of [false, true]) {
      const scene: Scene = { layout, size: 2, eventIdx, suppress: true, requests: ['out', 'in', 'out'] };
      const two: Scene = { ...scene, requests: ['pair', 'pair'] };
      for (const how of ['released', 'stepped', 'stopped'] as const) {
        for (const poll of [false, true]) {
          const device = serveByHeld(how, poll);
          const tried = how === 'stepped' && !poll ? scene : two;
          test(`${SECTIONS[layout]}: ${how}${poll ? ', polled' : ''}: ${nameOf(tried)}`, () => {
            holds(tried, 'tso', { device });
          });
        }
        test(`${SECTIONS[layout]}: ${how}, and the device is not told to look: it goes wrong: ${nameOf(scene)}`, () => {
          const { fault } = play(scene, 'sc', {}, { device: serveByHeld(how, false, false) });
          assert.match(fault?.text ?? '', /lost wake-up/);
        });
      }
    }
  }
});

describe(`${ORDERS.tso}, the driver has a BufferQueue, the device is run by DeviceRunner`, () => {
  for (const layout of ['split', 'packed'] as const) {
    for (const eventIdx of [false, true]) {
      for (const size of layout === 'split' ? [1, 2] : [1, 2, 3]) {
        const common = { layout, size, eventIdx, suppress: true } as const;
        const code = { driver: driveByBufferQueue, device: serveByRunner };
        const two: Scene = { ...common, requests: ['out', 'out'], each: true };
        test(`${SECTIONS[layout]}: ${nameOf(two)}`, () => holds(two, 'tso', code));
        const three: Scene = { ...common, requests: ['out', 'out', 'out'] };
        if (size > 1) test(`${SECTIONS[layout]}: ${nameOf(three)}`, () => holds(three, 'tso', code));
      }
      const wish = layout === 'packed' ? 'driver.flags' : eventIdx ? 'used_event' : 'avail.flags';
      const used = layout === 'packed' ? 'desc.flags' : 'used.idx';
      test(`${SECTIONS[layout]}: a ${layout} ring, ${eventIdx ? 'with' : 'without'} EVENT_IDX, is looked at before ${wish} is written: it goes wrong`, () => {
        const scene: Scene = {
          layout,
          size: 2,
          eventIdx,
          suppress: true,
          requests: ['out', 'out', 'out'],
          each: true,
        };
        const late = { what: [wish], after: `read ${used}` };
        const { fault } = play(scene, 'sc', { driver: { late } }, { driver: driveByBufferQueue });
        assert.match(fault?.text ?? '', /lost wake-up/);
      });
    }
  }
});

describe('with a barrier, a look or an order taken away, it goes wrong', () => {
  for (const { name, layout, planted, order, eventIdx, scene } of FAULTS) {
    for (const events of eventIdx === undefined ? [false, true] : [eventIdx]) {
      const requests: Shape[] = order === 'pso' ? ['pair'] : ['pair', 'pair'];
      const common: Scene = { layout, size: 2, eventIdx: events, suppress: true, requests, ...scene };
      test(`${SECTIONS[layout]}: ${layout}, ${events ? 'with' : 'without'} EVENT_IDX: ${name}`, () => {
        const { fault } = play(common, order, planted);
        assert.notEqual(fault, undefined, 'nothing went wrong');
        if (name.includes('barrier')) {
          assert.match(fault!.text, /lost wake-up/);
          // It is the store buffer that the barrier is for.
          assert.equal(play(common, 'sc', planted).fault, undefined);
        }
      });
    }
  }
});
