import type { TimelineItem } from '../../protocol.js';
import type { TimeWindow } from '../model/time-window.js';
import type { Palette } from './palette.js';
import { NAMES_WIDTH } from './timeline-lanes.js';

/** A request that the device has, of which no more is told until it is handed back. */
export interface OpenItem {
  readonly type: 'open';
  readonly id?: number;
  /** When it was taken. */
  readonly time: number;
  readonly connection: number;
  readonly queue: number;
  readonly head: number;
}

/** Something drawn that can be pointed at. */
export interface Target {
  readonly item: TimelineItem | OpenItem;
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

/** What all bands share while they are drawn. */
export interface Drawing {
  readonly context: CanvasRenderingContext2D;
  readonly width: number;
  readonly window: TimeWindow;
  readonly now: number;
  readonly colours: Palette;
  readonly chosen: number | undefined;
  readonly follows: boolean;
  readonly targets: Target[];
}

/** Above and below the requests of a band: kicks and interrupts. */
export const EDGE = 9;
export const MONO = '10.5px "IBM Plex Mono", monospace';
export const SANS = '11px "IBM Plex Sans Variable", sans-serif';
/** On what is in the device. */
export const ON_TAKEN = '#1c1405';

/** The place of a moment, CSS pixels. */
export function placeOf({ width, window }: Pick<Drawing, 'width' | 'window'>, time: number): number {
  return NAMES_WIDTH + ((time - window.from) / window.span) * (width - NAMES_WIDTH);
}
