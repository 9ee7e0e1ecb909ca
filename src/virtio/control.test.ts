import assert from 'node:assert/strict';
import { test } from 'node:test';
import { virtioTest } from '../devices/test/device.js';
import { control } from './control.js';
import { defineDevice } from './define-device.js';
import { parameter, readParameters } from './parameter.js';
import { le32, struct } from './struct.js';
import { DeviceBench } from './testing/device-bench.js';
import { makeTold, optionsOf, withOptions } from './with-options.js';

test('each kind of parameter reads what it says, and refuses the rest in words', () => {
  const all = {
    text: parameter.text('t'),
    number: parameter.number('n', 1, { least: 1, most: 9 }),
    size: parameter.size('s', 0),
    time: parameter.time('d', 0),
    flag: parameter.flag('f'),
    choice: parameter.choice('c', ['fast', 'slow'], 'slow'),
  };
  const read = (texts: Record<string, string>) => readParameters(all, texts, 'option');
  assert.deepEqual(read({ text: 'a=b' }), {
    ...{ text: 'a=b', number: 1, size: 0, time: 0 },
    ...{ flag: false, choice: 'slow' },
  });
  assert.deepEqual(read({ text: '', number: '9', size: '64M', time: '1.5s', flag: 'yes', choice: 'fast' }), {
    text: '',
    number: 9,
    size: 64 * 2 ** 20,
    time: 1.5e9,
    flag: true,
    choice: 'fast',
  });
  for (const [texts, says] of [
    [{}, /^the option 'text' is missing: text=<text>$/],
    [{ text: '', nubmer: '1' }, /^there is no option 'nubmer': did you mean 'number'\?$/],
    [{ text: '', zzz: '1' }, /^there is no option 'zzz': there is text, number, size, time, flag, choice$/],
    [{ text: '', number: '10' }, /^option 'number' is '10': write a whole number from 1 to 9$/],
    [{ text: '', size: '64 MB' }, /^option 'size' is '64 MB': write a size such as 64K, 512M or 4G$/],
    [{ text: '', time: '5' }, /^option 'time' is '5': write a time such as 500ms/],
    [{ text: '', flag: 'maybe' }, /^option 'flag' is 'maybe': write yes or no$/],
    [{ text: '', choice: 'fats' }, /'fats': write one of fast, slow: did you mean 'fast'\?$/],
    [{ text: '', toString: '1' }, /^there is no option 'toString'/],
  ] as const)
    assert.throws(() => read(texts), { name: 'RangeError', message: says });
});

test('a device with options is made with those that were told, and with the others as declared', () => {
  const make = withOptions({ size: parameter.number('n', 7) }, ({ size }) =>
    defineDevice({ id: 60, name: `virtio-${size}`, queues: [] }),
  );
  assert.equal(make().name, 'virtio-7');
  assert.equal(makeTold(make, { size: '8' })().name, 'virtio-8');
  assert.deepEqual(Object.keys(optionsOf(make)), ['size']);
  const plain = defineDevice({ id: 60, name: 'x', queues: [] });
  assert.equal(makeTold(plain, {}), plain);
  assert.throws(() => makeTold(plain, { a: '1' }), /there is no option 'a': the device has none/);
});

let next = (): void => {};
const make = defineDevice({
  id: 60,
  name: 'virtio-count',
  config: { struct: struct({ count: le32 }), initial: { count: 1 } },
  queues: [{ name: 'q', posted: () => next() }],
  controls: {
    add: control(
      'add to the count',
      { n: parameter.number('how many'), twice: parameter.flag('and again') },
      ({ n, twice }, { config, configChanged }) => {
        config.count = Number(config.count) + (twice ? 2 * n : n);
        configChanged();
        return `count ${config.count}`;
      },
    ),
    wait: control('take a while', {}, async () => ({ waited: true })),
    ask: control('hand a buffer back, and wait for the next one', {}, (_, { queues }) => {
      queues[0]!.push(queues[0]!.pop()!);
      return new Promise((tell) => {
        next = () => tell('there');
      });
    }),
    give: control('hand a buffer back', {}, (_, { queues }) => {
      const chain = queues[0]!.pop();
      if (chain === undefined) throw new Error('there is no buffer');
      chain.write(Uint8Array.of(7));
      queues[0]!.push(chain);
    }),
  },
});

test('a control does what it declares, with values in order or by name; what it pushes is shown', async () => {
  const device = make();
  const bench = new DeviceBench(() => device);
  assert.deepEqual(
    device.controls!.map(({ usage }) => usage),
    ['add n=<n> [twice=yes|no]', 'wait', 'ask', 'give'],
  );
  assert.equal(await device.control!('add', ['2']), 'count 3');
  assert.equal(await device.control!('add', ['twice=yes', '5']), 'count 13');
  assert.equal(bench.configInterrupts, 2);
  assert.deepEqual(await device.control!('wait', []), { waited: true });
  await assert.rejects(device.control!('give', []), /^Error: there is no buffer$/);
  bench.drivers[0]!.send([], [4]);
  bench.kick(0);
  const asked = device.control!('ask', []);
  assert.ok(bench.drivers[0]!.receive(), 'the driver has it before the promise settles');
  bench.drivers[0]!.send([], [4]);
  bench.kick(0);
  assert.equal(await asked, 'there');
  await device.control!('give', []);
  assert.deepEqual([...bench.drivers[0]!.receive()!.bytes], [7]);
});

test('a control that is unknown, or said wrongly, is refused in words; and before a driver is there', async () => {
  const device = make();
  await assert.rejects(device.control!('wait', []), /no driver has the device yet/);
  new DeviceBench(() => device);
  for (const [words, says] of [
    [['ad'], /virtio-count has no control 'ad': did you mean 'add'\?/],
    [['add'], /the value 'n' is missing: n=<n>/],
    [['add', '1', 'no', 'x'], /'x' is too much/],
    [['add', 'x'], /value 'n' is 'x': write a whole number/],
    [['add', 'm=1'], /there is no value 'm'/],
  ] as const) {
    const [name, ...rest] = words;
    await assert.rejects(device.control!(name, rest), says);
  }
});

test('the bench asks a control, and what that pushes is there; what it refuses, it throws', async () => {
  const bench = new DeviceBench(make);
  assert.equal(await bench.control('add', '2', 'twice=yes'), 'count 5');
  bench.post('q', 4);
  const asked = bench.control('ask');
  assert.equal(bench.received('q').length, 1);
  bench.post('q', 4);
  assert.equal(await asked, 'there');
  await assert.rejects(bench.control('ad', '2'), /no control 'ad': did you mean 'add'\?/);
  await assert.rejects(bench.control('add', 'x'), /value 'n' is 'x': write a whole number/);
  bench.reset();
  await assert.rejects(bench.control('wait'), /no driver has the device yet/);
  await assert.rejects(new DeviceBench(virtioTest()).control('a'), /virtio-test has no control 'a'/);
});

test('what is no control is refused where the device is defined', () => {
  const wrong = (controls: unknown) => () =>
    defineDevice({ id: 60, name: 'x', queues: [], controls: controls as never });
  assert.throws(
    wrong({ a: { help: 'h' } }),
    /device x: control a: take what control\(help, parameters, run\) returns/,
  );
  assert.throws(wrong({ 'a b': control('', {}, () => {}) }), /control a b has no word for its name/);
  assert.throws(wrong([]), /controls/);
});
