import { aTime, checkOptions } from '../../virtio/check-options.js';
import { defineDevice } from '../../virtio/define-device.js';
import type { DeviceDefinition } from '../../virtio/device-definition.js';
import type { MakeDevice } from '../../virtio/make-device.js';
import { structQueue } from '../../virtio/struct-queue.js';
import { Config, Counter, FEATURES, Request, Response, VIRTIO_ID_TEST } from './wire.js';

/** What `virtioTest` is told. */
export interface TestOptions {
  /** `echo` answers requests; `events` pushes config changes. Default `echo`. */
  readonly variant?: 'echo' | 'events';
  /** `events`: ms from the driver being ready to the first config change. Default 30,000. */
  readonly first?: number;
  /** `events`: ms between config changes. Default 1,000. */
  readonly every?: number;
}

/** As the seed's design has it. */
const QUEUE_SIZE = 128;

type Definition = DeviceDefinition<typeof Config.fields>;

const common = {
  id: VIRTIO_ID_TEST,
  name: 'virtio-test',
  config: { struct: Config, writable: ['actual', 'event'] },
} as const;

/**
 * virtio-test: the smallest honest device, and the one to copy in this room. It prints what it gets, letter for letter as its design has it.
 *
 * @returns makes the device, for each front-end anew.
 * @throws TypeError or RangeError for options that can't be meant.
 */
export function virtioTest(options: TestOptions = {}): MakeDevice {
  checkOptions(options, 'virtioTest', { variant: ['echo', 'events'], first: aTime, every: aTime });
  const { variant = 'echo', first = 30_000, every = 1_000 } = options;
  return defineDevice(variant === 'echo' ? echo : () => events(first * 1e6, every * 1e6));
}

/** A line for each field of each request: one function for all. */
const said = (name: string, value: number | string): string =>
  `QEMU_BACK_END: >>> get ${name} [ ${value} ] form the front end <<<`;

const echo: Definition = {
  ...common,
  features: { CAN_PRINT: FEATURES.CAN_PRINT },
  queues: [
    structQueue({
      name: 'print',
      size: QUEUE_SIZE,
      request: Request,
      response: Response,
      handle({ type, arg1, arg2, arg3, arg4 }, { print }) {
        print(said, 'type', type);
        print(said, 'arg1', arg1);
        print(said, 'arg2', arg2);
        print(said, 'arg3', arg3);
        print(said, 'arg3', arg4);
        return { ret: arg1 + 100, arg1: arg2 + 100, arg2: arg3 + 100 };
      },
    }),
  ],
};

/** Times in ns. */
const events = (first: number, every: number): Definition => ({
  ...common,
  features: FEATURES,
  queues: [
    {
      name: 'print',
      size: QUEUE_SIZE,
      handle(chain, { print, warn }) {
        if (chain.readable > MAX_COUNTERS * Counter.size) {
          warn(`${chain.readable} bytes of counters at once: not printed`);
          return;
        }
        const counters = chain.readRest();
        for (let at = 0; at + Counter.size <= counters.length; at += Counter.size) {
          print(() => `=========get virtio num:${Counter.decode(counters.subarray(at)).num}`);
        }
      },
    },
  ],
  activate({ clock, config, configChanged, print }) {
    let count = 0;
    let due = clock.now() + first;
    const alarm = clock.alarm(() => {
      print(`==============set config:${count++}`);
      config.event = count;
      configChanged();
      // A process that was held up does not make up for it in a burst.
      due = Math.max(due + every, clock.now());
      alarm.set(due);
    });
    alarm.set(due);
  },
});

/** A driver sends one; more than this in one request is a flood. */
const MAX_COUNTERS = 256;
