import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type Device,
  DeviceBench,
  type DeviceQueue,
  defineDevice,
  le32,
  struct,
  structQueue,
} from '../index.js';

const Numbers = struct({ n: le32 });
const Config = struct({ step: le32 });

test('queues go by their names, typed, in each hook and handler', async () => {
  const seen: string[] = [];
  const make = defineDevice({
    id: 60,
    name: 'names',
    config: { struct: Config, initial: { step: 3 } },
    queues: [
      structQueue({
        name: 'requestq',
        request: Numbers,
        response: Numbers,
        handle: ({ n }, { config, queues }: Device<typeof Config, 'eventq'>) => ({
          n: n + config.step + queues.eventq.index,
        }),
      }),
      {
        name: 'eventq',
        posted({ queues, config }) {
          const queue: DeviceQueue = queues.requestq;
          seen.push(`${queue.name} ${config.step}`);
        },
      },
    ],
    activate({ queues }) {
      seen.push(queues.requestq.name, queues.eventq.name);
      // @ts-expect-error there is none of that name
      assert.equal(queues.statsq, undefined);
      assert.deepEqual([queues.length, queues[1], Object.keys(queues)], [2, queues.eventq, ['0', '1']]);
    },
  });
  const bench = new DeviceBench(make);
  assert.deepEqual(await bench.call('requestq', Numbers, { n: 5 }, Numbers), { n: 9 });
  bench.post('eventq', 4);
  assert.deepEqual(seen, ['requestq', 'eventq', 'requestq 3']);
  assert.throws(() => bench.kick('requetsq'), /no queue requetsq: did you mean 'requestq'\?/);
});

test('names are typed also where the number of queues is computed', () => {
  const seen: string[] = [];
  const kinds = ['hiq', 'loq'] as const;
  const device = defineDevice(() => ({
    id: 60,
    name: 'computed',
    queues: [
      { name: 'controlq' as const },
      ...kinds.map((name) => ({ name })),
      { upTo: 2, queues: [{ name: 'dataq' as const }] },
    ],
    activate({ queues }) {
      seen.push(queues.controlq.name, queues.hiq.name, queues.loq.name, queues.dataq2!.name);
      assert.equal(queues.dataq3, undefined);
    },
  }));
  new DeviceBench(device);
  assert.deepEqual(seen, ['controlq', 'hiq', 'loq', 'dataq2']);
});

test('a function of one takes the device by what defineDevice returned, by its struct, or plain', () => {
  const make = defineDevice({
    id: 60,
    name: 'types',
    config: { struct: Config },
    queues: [{ name: 'eventq' }],
  });
  const byDevice = ({ config, queues }: Device<typeof make>): string =>
    `${queues.eventq.name} ${config.step}`;
  const byStruct = ({ config, queues }: Device<typeof Config, 'eventq'>): string =>
    `${queues.eventq.name} ${config.step}`;
  const byNames = ({ queues }: Device<'eventq'>): string => `${queues.eventq.name} 0`;
  const plain = ({ clock, queues }: Device): string => `${queues[0]!.name} ${clock.now()}`;
  const seen: string[] = [];
  new DeviceBench(
    defineDevice({
      id: 60,
      name: 'types',
      config: { struct: Config },
      queues: [{ name: 'eventq' }],
      activate: (device) =>
        void seen.push(byDevice(device), byStruct(device), byNames(device), plain(device)),
    }),
  );
  assert.deepEqual(seen, Array(4).fill('eventq 0'));
});
