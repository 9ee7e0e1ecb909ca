import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { queueKey } from '../model/model.js';
import { type Curve, seriesOf } from '../model/series.js';
import { useSession } from '../session.js';
import { shortText } from '../text/count.js';
import { spanText } from '../text/time.js';
import { Plot, type PlotKind } from './plot.js';

const rate = (value: number): string => `${shortText(value)}/s`;

const PLOTS: readonly PlotKind[] = [
  { title: 'Requests', lines: [{ name: '', of: 'rate', colour: 'taken' }], text: rate },
  {
    title: 'Latency',
    lines: [
      { name: 'p50', of: 'p50', colour: 'used' },
      { name: 'p99', of: 'p99', colour: 'taken' },
      { name: 'max', of: 'max', colour: 'ink-3', dash: [3, 3] },
    ],
    text: (value) => spanText(value * 1e3),
  },
  {
    title: 'Queue depth',
    lines: [
      { name: 'in the device', of: 'inFlight', colour: 'taken' },
      { name: 'waiting', of: 'waiting', colour: 'available' },
    ],
    text: shortText,
  },
  {
    title: 'A request has',
    lines: [
      { name: 'kicks', of: 'kicks', colour: 'available' },
      { name: 'interrupts', of: 'interrupts', colour: 'used' },
    ],
    text: (value) => value.toFixed(2),
  },
  {
    title: 'Interrupts not wanted',
    lines: [{ name: '', of: 'suppressed', colour: 'used' }],
    text: (value) => `${value.toFixed(0)} %`,
  },
  { title: 'Found without a kick', lines: [{ name: '', of: 'polled', colour: 'available' }], text: rate },
];

/** The numbers of the queue that is looked at, by time. */
export function PlotsPane(): JSX.Element {
  const session = useSession();
  const at = useSignal<number | undefined>(undefined);
  void session.model.pointsVersion.value;
  const queue = session.queue.value;
  const points = (queue && session.model.points.get(queueKey(queue.connection, queue.queue))) ?? [];
  if (points.length < 2)
    return (
      <div class="nothing">
        <h3>No numbers yet</h3>
        <p>They are counted four times a second while a driver is there.</p>
      </div>
    );
  const series = seriesOf(points);
  const shown = at.value;
  return (
    <div class="plots">
      {PLOTS.map((kind) => (
        <figure key={kind.title}>
          <figcaption>
            <b>{kind.title}</b>
            {kind.lines.map(({ name, of, colour }) => (
              <span key={of}>
                <i class="swatch" style={{ background: `var(--${colour})` }} />
                {name} <code>{valueAt(series[of], shown, kind.text)}</code>
              </span>
            ))}
          </figcaption>
          <Plot
            kind={kind}
            series={series}
            point={(one) => {
              at.value = one;
            }}
          />
        </figure>
      ))}
    </div>
  );
}

/** What a curve says where one points at, or at its end. */
function valueAt(curve: Curve, at: number | undefined, text: (value: number) => string): string {
  const value = curve[at ?? curve.length - 1];
  return value === undefined ? '–' : text(value);
}
