import { effect } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import type { Series } from '../model/series.js';
import { type Palette, palette, paletteVersion } from './palette.js';

/** A curve of a plot. */
export interface Line {
  readonly name: string;
  readonly of: keyof Omit<Series, 'seconds'>;
  readonly colour: keyof Palette;
  readonly dash?: number[];
}

/** A plot, and how its numbers are written. */
export interface PlotKind {
  readonly title: string;
  readonly lines: readonly Line[];
  readonly text: (value: number) => string;
}

const HEIGHT = 74;

/** One plot. */
export function Plot({
  kind,
  series,
  point,
}: {
  readonly kind: PlotKind;
  readonly series: Series;
  /** Hears which of the points is pointed at. */
  readonly point: (at: number | undefined) => void;
}): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const data: uPlot.AlignedData = [series.seconds, ...kind.lines.map(({ of }) => series[of])];
  const latest = useRef(data);
  latest.current = data;
  useEffect(() => {
    const element = box.current!;
    const observer = new ResizeObserver(() =>
      plot.current?.setSize({ width: element.clientWidth, height: HEIGHT }),
    );
    observer.observe(element);
    // Its colours are given once: in other ones it is made anew.
    const stop = effect(() => {
      void paletteVersion.value;
      plot.current?.destroy();
      plot.current = new uPlot(optionsOf(kind, element.clientWidth, point), latest.current, element);
    });
    return () => {
      observer.disconnect();
      stop();
      plot.current?.destroy();
    };
  }, []);
  useEffect(() => plot.current?.setData(data));
  return <div class="plot" ref={box} />;
}

function optionsOf(
  { lines, text }: PlotKind,
  width: number,
  point: (at: number | undefined) => void,
): uPlot.Options {
  const colours = palette();
  const axis = {
    stroke: colours['ink-3'],
    font: '10px "IBM Plex Mono"',
    grid: { stroke: colours.line, width: 1 },
    ticks: { show: false },
  };
  return {
    width,
    height: HEIGHT,
    padding: [6, 14, 0, 0],
    legend: { show: false },
    hooks: { setCursor: [({ cursor }) => point(cursor.idx ?? undefined)] },
    cursor: { y: false, points: { show: false }, drag: { x: false, y: false }, sync: { key: 'plots' } },
    scales: { x: { time: false }, y: { range: (_, __, most) => [0, most > 0 ? most * 1.15 : 1] } },
    axes: [
      { ...axis, size: 18, gap: 2, space: 56, values: (_, all) => all.map((value) => `${value} s`) },
      { ...axis, size: 58, gap: 4, space: 26, values: (_, all) => all.map((value) => text(value)) },
    ],
    series: [
      {},
      ...lines.map(({ name, colour, dash }) => ({
        label: name,
        stroke: colours[colour],
        width: 1.5,
        ...(dash && { dash }),
        points: { show: false },
        spanGaps: false,
      })),
    ],
  };
}
