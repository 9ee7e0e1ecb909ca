import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PlotPoint } from '../../protocol.js';
import { seriesOf } from './series.js';

const point: PlotPoint = {
  connection: 1,
  queue: 0,
  time: 2e9,
  span: 250e6,
  used: 100,
  taken: 100,
  kicks: 25,
  interrupts: 30,
  suppressed: 10,
  unkicked: 5,
  inFlight: 3,
  waiting: 1,
  read: 0,
  written: 0,
};

test('counts of a stretch of time become numbers a second and a request', () => {
  const { seconds, rate, kicks, interrupts, suppressed, polled, p50 } = seriesOf([point]);
  assert.deepEqual(
    [seconds, rate, kicks, interrupts, suppressed, polled, p50],
    [[2], [400], [0.25], [0.3], [25], [20], [undefined]],
  );
});

test('where nothing happened, there is nothing to say, and not nothing', () => {
  const { kicks, suppressed } = seriesOf([{ ...point, used: 0, interrupts: 0, suppressed: 0 }]);
  assert.deepEqual([kicks, suppressed], [[undefined], [undefined]]);
});
