import { PVIRTQ_DESC } from '../../src/virtqueue/packed/layout.js';
import type { Order } from './buffers.js';
import type { Scene } from './ends.js';
import type { Planted } from './play.js';

/** A barrier, a look or an order that is taken away, and where that must be seen. */
export interface Fault {
  readonly name: string;
  readonly layout: Scene['layout'];
  readonly planted: Planted;
  /** The weakest memory model in which it does no harm is one weaker than this. */
  readonly order: Order;
  /** With EVENT_IDX, without, or (unless told) both. */
  readonly eventIdx?: boolean;
  readonly scene?: Partial<Scene>;
}

/** Both ends look once more, after they asked to be told. */
const blind = (['split', 'packed'] as const).flatMap((layout): Fault[] => [
  { name: 'the driver does not look once more', layout, planted: { driver: { blind: true } }, order: 'sc' },
  { name: 'the device does not look once more', layout, planted: { device: { blind: true } }, order: 'sc' },
]);

/** What a wish is written to and read from, by EVENT_IDX. */
const WISHES = [
  { eventIdx: false, driver: 'avail.flags', device: 'used.flags' },
  { eventIdx: true, driver: 'used_event', device: 'avail_event' },
] as const;

const split: Fault[] = WISHES.flatMap(({ eventIdx, driver, device }): Fault[] => {
  const common = { layout: 'split', eventIdx } as const;
  return [
    // §2.7.13.4.1, §2.7.8.2: a full barrier between the index and the other's wish, and between the own wish and the other's index.
    {
      ...common,
      name: 'no barrier after avail.idx',
      planted: { driver: { weak: 'avail.idx' } },
      order: 'tso',
    },
    { ...common, name: 'no barrier after used.idx', planted: { device: { weak: 'used.idx' } }, order: 'tso' },
    { ...common, name: `no barrier after ${driver}`, planted: { driver: { weak: driver } }, order: 'tso' },
    { ...common, name: `no barrier after ${device}`, planted: { device: { weak: device } }, order: 'tso' },
    {
      ...common,
      name: `${device} is read before avail.idx is written`,
      planted: { driver: { late: { what: ['avail.idx'], after: `read ${device}` } } },
      order: 'sc',
    },
    {
      ...common,
      name: `${driver} is read before used.idx is written`,
      planted: { device: { late: { what: ['used.idx'], after: `read ${driver}` } } },
      order: 'sc',
    },
    {
      ...common,
      name: `used.idx is looked at before ${driver} is written`,
      planted: { driver: { late: { what: [driver], after: 'read used.idx' } } },
      order: 'sc',
    },
    {
      ...common,
      name: `avail.idx is looked at before ${device} is written`,
      planted: { device: { late: { what: [device], after: 'read avail.idx' } } },
      order: 'sc',
    },
  ];
});

/** Two chains at a time, so that one is not named as the last one was. */
const TWO: Partial<Scene> = { indirect: true };

/** And they come and go one at a time. */
const ONE_BY_ONE: Partial<Scene> = { indirect: true, each: true };

/** From the flags of a descriptor to its length, and from its id. */
const LENGTH = PVIRTQ_DESC.len - PVIRTQ_DESC.flags;
const ID_TO_LENGTH = PVIRTQ_DESC.len - PVIRTQ_DESC.id;

/** What an end looks at to see whose a descriptor is: the device reads its id and flags at once. */
const SEEN = { driver: 'desc.flags', device: 'desc.id' } as const;

const late = (
  layout: Fault['layout'],
  end: 'driver' | 'device',
  what: string,
  after: string,
  more: Partial<Fault> = {},
): Fault => ({
  name: `${what} is written after ${after}`,
  layout,
  planted: { [end]: { late: { what: [what], after: `store ${after}` } } },
  order: 'sc',
  ...more,
});

const early = (
  layout: Fault['layout'],
  end: 'driver' | 'device',
  name: string,
  before: string,
  away: number,
  scene: Partial<Scene>,
): Fault => ({
  name,
  layout,
  planted: {
    [end]: {
      early: {
        before: `read ${before}`,
        what: ({ offset }: { offset: number }) => ({ offset: offset + away, length: 4 as const }),
      },
    },
  },
  order: 'sc',
  scene,
});

export const FAULTS: readonly Fault[] = [
  ...blind,
  ...split,
  // §2.7.13.3.1: what the index counts is there before the index.
  late('split', 'driver', 'request', 'avail.idx'),
  late('split', 'driver', 'desc', 'avail.idx'),
  late('split', 'driver', 'avail.ring', 'avail.idx', { scene: TWO }),
  late('split', 'device', 'answer', 'used.idx'),
  late('split', 'device', 'used.id', 'used.idx', { scene: TWO }),
  late('split', 'device', 'used.len', 'used.idx'),
  // Nor is it read before the index is. The first entry, or element, lies 2 bytes behind its index.
  early('split', 'device', 'avail.ring is read before avail.idx', 'avail.idx', 2, {
    ...TWO,
    byWords: true,
  }),
  early('split', 'driver', 'used.len is read before used.idx', 'used.idx', 14, ONE_BY_ONE),
  // Where stores pass each other, the barrier before an index is needed too.
  {
    name: 'avail.idx passes what it counts',
    layout: 'split',
    planted: { driver: { weak: 'avail.idx' } },
    order: 'pso',
  },
  {
    name: 'used.idx passes what it counts',
    layout: 'split',
    planted: { device: { weak: 'used.idx' } },
    order: 'pso',
  },
  {
    name: "the driver's flags pass the rest of the descriptor",
    layout: 'packed',
    planted: { driver: { weak: 'desc.flags' } },
    order: 'pso',
  },
  {
    name: "the device's flags pass the rest of the descriptor",
    layout: 'packed',
    planted: { device: { weak: 'desc.flags' } },
    order: 'pso',
  },

  // §2.8.21.3.1, §2.8.22: the same of a packed ring.
  ...(['driver', 'device'] as const).flatMap((end): Fault[] => {
    const other = end === 'driver' ? 'device' : 'driver';
    return [
      {
        name: `no barrier after the ${end}'s flags of a descriptor`,
        layout: 'packed',
        planted: { [end]: { weak: 'desc.flags' } },
        order: 'tso',
      },
      {
        name: `no barrier after ${end}.flags`,
        layout: 'packed',
        planted: { [end]: { weak: `${end}.flags` } },
        order: 'tso',
        eventIdx: false,
      },
      {
        name: `no barrier after ${end}.desc`,
        layout: 'packed',
        planted: { [end]: { weak: `${end}.desc` } },
        order: 'tso',
        eventIdx: true,
        scene: { suppress: false },
      },
      {
        name: `${other}.flags is read before the ${end} shows its descriptor`,
        layout: 'packed',
        planted: { [end]: { late: { what: ['desc.flags'], after: `read ${other}.flags` } } },
        order: 'sc',
      },
      {
        name: `the ${end} looks at the ring before it writes ${end}.flags`,
        layout: 'packed',
        planted: { [end]: { late: { what: [`${end}.flags`], after: `read ${SEEN[end]}` } } },
        order: 'sc',
      },
    ];
  }),
  // §2.8.21.1.1: the flags of a descriptor come last, those of the first of a list last of all.
  late('packed', 'driver', 'request', 'desc.flags'),
  late('packed', 'driver', 'desc.addr', 'desc.flags'),
  late('packed', 'driver', 'desc.len', 'desc.flags'),
  late('packed', 'driver', 'desc.id', 'desc.flags'),
  late('packed', 'device', 'answer', 'desc.flags'),
  late('packed', 'device', 'desc.len', 'desc.flags', { scene: TWO }),
  late('packed', 'device', 'desc.id', 'desc.flags', { scene: { ...TWO, backwards: true } }),
  early('packed', 'driver', 'the length is read before the flags', 'desc.flags', LENGTH, ONE_BY_ONE),
  early('packed', 'device', 'the length is read before id and flags', SEEN.device, ID_TO_LENGTH, {}),
  // The place that is waited for is there before the flag that makes it count.
  ...(['driver', 'device'] as const).map(
    (end): Fault => ({
      name: `${end}.desc is written after ${end}.flags`,
      layout: 'packed',
      planted: { [end]: { late: { what: [`${end}.desc`], after: `store ${end}.flags` } } },
      order: 'tso',
      eventIdx: true,
    }),
  ),
];
