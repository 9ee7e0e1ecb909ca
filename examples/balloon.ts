import {
  type Chain,
  control,
  type DeviceHost,
  defineDevice,
  le16,
  le32,
  le64,
  type MakeDevice,
  parameter,
  struct,
  withOptions,
} from 'virtio-misc';

/** What the balloon counts in (VIRTIO 1.3 §5.5.6): 4 KiB, whatever the guest's own pages are. */
const PAGE = 4096;
const MIB = 2 ** 20;

const Config = struct({ num_pages: le32, actual: le32 });
/** One of the guest's statistics (§5.5.6.4), packed: le16 tag, le64 value. */
const Stat = struct({ tag: le16, value: le64 });
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

    const hand = ({ queues }: DeviceHost): void => {
      if (held !== undefined) queues[2]!.push(held);
      held = undefined;
    };
    /** Page numbers, le32 each, that go into the balloon or come out of it. */
    const counted = (chain: Chain): number => {
      const bytes = new Uint8Array(chain.readable);
      chain.read(bytes);
      return Math.floor(bytes.length / 4);
    };
    return {
      id: 5,
      name: 'virtio-balloon',
      features: { STATS_VQ: 1 },
      config: { struct: Config, initial: { num_pages: Math.floor(target / PAGE) }, writable: ['actual'] },
      queues: [
        {
          name: 'inflateq',
          handle: (chain, { print }) => print(`the guest gave ${counted(chain)} pages`),
        },
        {
          name: 'deflateq',
          handle: (chain, { print }) => print(`the guest took ${counted(chain)} pages back`),
        },
        {
          name: 'statsq',
          posted(_, queue) {
            held = queue.pop();
            if (held === undefined || waiting.length === 0) return;
            const bytes = new Uint8Array(held.readable);
            held.read(bytes);
            const stats: Record<string, number> = {};
            for (let at = 0; at + Stat.size <= bytes.length; at += Stat.size) {
              const { tag, value } = Stat.decode(bytes.subarray(at, at + Stat.size));
              const name = STATS[tag];
              if (name !== undefined) stats[name] = Number(value);
            }
            for (const tell of waiting.splice(0)) tell(stats);
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
        stats: control("say what the guest's memory is used for", {}, (_, device) => {
          if (held === undefined) throw new Error('the guest posted no buffer for its statistics');
          return new Promise((tell) => {
            waiting.push(tell);
            hand(device);
          });
        }),
      },
      reset() {
        held = undefined;
        waiting = [];
      },
    };
  });
}

const device: MakeDevice = withOptions(
  { target: parameter.size('memory to ask the guest for at the start', 0) },
  ({ target }) => balloon(target),
);
export default device;
