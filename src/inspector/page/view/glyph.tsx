import type { JSX } from 'preact';
import type { CellState, Marker } from '../model/cell.js';

const PATHS: Readonly<Record<Marker['kind'], string>> = {
  driver: 'M1 2 L9 2 L5 8 Z',
  device: 'M5 2 L9 8 L1 8 Z',
  event: 'M5 1 L9 5 L5 9 L1 5 Z',
};

/** A marker as it is drawn in a ring. */
export function Glyph({ kind }: { readonly kind: Marker['kind'] }): JSX.Element {
  return (
    <svg class={`glyph ${kind}`} viewBox="0 0 10 10" aria-hidden="true">
      <path d={PATHS[kind]} />
    </svg>
  );
}

const STATES: readonly (readonly [CellState, string])[] = [
  ['available', 'available'],
  ['taken', 'in the device'],
  ['used', 'handed back'],
  ['free', 'free'],
];

/** What colours and shapes stand for. */
export function Legend(): JSX.Element {
  return (
    <ul class="legend">
      {STATES.map(([state, text]) => (
        <li key={state}>
          <i class={`swatch ${state}`} />
          {text}
        </li>
      ))}
      <li>
        <Glyph kind="driver" />
        driver’s index
      </li>
      <li>
        <Glyph kind="device" />
        device’s
      </li>
      <li>
        <Glyph kind="event" />
        event index
      </li>
    </ul>
  );
}
