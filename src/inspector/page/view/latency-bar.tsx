import type { JSX } from 'preact';
import type { ChainItem } from '../../protocol.js';
import { spanText } from '../text/time.js';

interface Part {
  readonly name: string;
  readonly state: 'available' | 'taken' | 'used';
  readonly ns: number | undefined;
  readonly otherwise: string;
}

/** Where the time of a request went. */
export function LatencyBar({ item }: { readonly item: ChainItem }): JSX.Element {
  const { available, time, used, interrupt, suppressed } = item;
  const parts: Part[] = [
    {
      name: 'waiting in the ring',
      state: 'available',
      ns: available === undefined ? undefined : Math.max(0, time - available),
      otherwise: 'not known',
    },
    {
      name: 'in the device',
      state: 'taken',
      ns: used === undefined ? undefined : used - time,
      otherwise: 'still there',
    },
    {
      name: suppressed ? 'until no interrupt was wanted' : 'until the interrupt',
      state: 'used',
      ns: interrupt === undefined || used === undefined ? undefined : interrupt - used,
      otherwise: used === undefined ? 'to come' : 'none seen',
    },
  ];
  const total = parts.reduce((sum, { ns = 0 }) => sum + ns, 0);
  return (
    <div class="latency">
      <div class="bar" aria-hidden="true">
        {parts.map(({ state, ns = 0 }) =>
          ns > 0 ? <i key={state} class={state} style={{ flexGrow: ns / Math.max(1, total) }} /> : null,
        )}
      </div>
      <dl>
        {parts.map(({ name, state, ns, otherwise }) => (
          <div key={state}>
            <dt>
              <i class={`swatch ${state}`} />
              {name}
            </dt>
            <dd>{ns === undefined ? <em>{otherwise}</em> : spanText(ns)}</dd>
          </div>
        ))}
        <div class="total">
          <dt>all of it</dt>
          <dd>{used === undefined ? <em>not over</em> : spanText(total)}</dd>
        </div>
      </dl>
    </div>
  );
}
