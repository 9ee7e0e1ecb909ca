import {
  type Chain,
  control,
  type DeviceQueue,
  defineDevice,
  le16,
  le32,
  le64,
  type MakeDevice,
  parameter,
  struct,
  structQueue,
  tail,
  withOptions,
} from 'virtio-misc';

/** What the balloon counts in (VIRTIO 1.3 §5.5.6): 4 KiB, whatever the guest's own pages are. */
const PAGE = 4096;
const MIB = 2 ** 20;

const Config = struct({ num_pages: le32, actual: le32 });
/** Numbers of pages that go into the balloon or come out of it: Linux sends up to 256 at a time. */
const Pages = struct({ pfns: tail(le32, 1024) });
/** The guest's statistics (§5.5.6.4), packed: each le16 tag, le64 value. */
const Stats = struct({ stats: tail(struct({ tag: le16, value: le64 }), 64) });
const STATS = [
  'swapped in',
  'swapped out',
  'major faults',
  'minor faults',
  'free',
  'total',
  'available',
  'disk caches',
] as const;

/** What edited code goes on with. */
interface Saved {
  readonly held: Chain | undefined;
  readonly waiting: ((stats: Record<string, number>) => void)[];
}

/**
 * virtio-balloon (§5.5): the guest hands pages over that it will not use, as many as it is asked for. What is done with them is the host's
 * affair; this device counts them.
 *
 * @param target - bytes to ask for from the start.
 */
export function balloon(target: number): MakeDevice {
  return defineDevice(() => {
    /** The statistics' buffer, which the device keeps until it wants new ones, and who waits for them. */
    let held: Chain | undefined;
    let waiting: ((stats: Record<string, number>) => void)[] = [];

    const hand = (statsq: DeviceQueue): void => {
      if (held !== undefined) statsq.push(held);
      held = undefined;
    };
    return {
      id: 5,
      name: 'virtio-balloon',
      features: { STATS_VQ: 1 },
      config: { struct: Config, initial: { num_pages: Math.floor(target / PAGE) }, writable: ['actual'] },
      queues: [
        structQueue({
          name: 'inflateq',
          request: Pages,
          handle({ pfns }, { print }) {
            print(() => `the guest gave ${pfns.length} pages`);
          },
        }),
        structQueue({
          name: 'deflateq',
          request: Pages,
          handle({ pfns }, { print }) {
            print(() => `the guest took ${pfns.length} pages back`);
          },
        }),
        {
          name: 'statsq',
          posted(_, queue) {
            // The driver has one; whoever posts more gets those before the last back.
            for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
              hand(queue);
              held = chain;
              if (waiting.length === 0) continue;
              const stats = read(chain);
              for (const tell of waiting.splice(0)) tell(stats);
            }
          },
          // The guest is shut down, or paused, and waits for all of its buffers.
          stopping(_, queue) {
            hand(queue);
          },
        },
      ],
      controls: {
        target: control(
          'ask the guest for so much memory, or give it back',
          { memory: parameter.size('bytes') },
          ({ memory }, { config, configChanged }) => {
            config.num_pages = Math.floor(memory / PAGE);
            configChanged();
            return `asked for ${memory / MIB} MiB`;
          },
        ),
        state: control('say what the guest was asked for and gave', {}, (_, { config }) => ({
          asked: Number(config.num_pages) * PAGE,
          given: Number(config.actual) * PAGE,
        })),
        stats: control("say what the guest's memory is used for", {}, (_, { queues }) => {
          if (held === undefined) throw new Error('the guest posted no buffer for its statistics');
          return new Promise((tell) => {
            waiting.push(tell);
            hand(queues[2]!);
          });
        }),
      },
      activate({ queues }) {
        // Kept by the code before an edit.
        if (held !== undefined) queues.statsq.adopt(held);
      },
      reset() {
        held = undefined;
        waiting = [];
      },
      save: (): Saved => ({ held, waiting }),
      restore(state) {
        ({ held, waiting } = state as Saved);
      },
    };
  });
}

/** By their names; a driver may send more than there is to know. */
function read(chain: Chain): Record<string, number> {
  const bytes = new Uint8Array(Math.min(chain.readable, Stats.most));
  chain.read(bytes);
  const named = Stats.decode(bytes).stats.map(({ tag, value }) => [STATS[tag], value] as const);
  return Object.fromEntries(named.filter(([name]) => name !== undefined));
}

const device: MakeDevice = withOptions(
  { target: parameter.size('memory to ask the guest for at the start', 0) },
  ({ target }) => balloon(target),
);
export default device;
