import type { JSX } from 'preact';
import { PANES, type Pane, useSession } from '../session.js';
import { BreakpointsPane } from './breakpoints-pane.js';
import { LogPane } from './log-pane.js';
import { PlotsPane } from './plots-pane.js';
import { RequestPane } from './request-pane.js';

const NAMES: Readonly<Record<Pane, string>> = {
  request: 'Request',
  plots: 'Plots',
  log: 'Log',
  breakpoints: 'Breaks',
};

/** One of several things to look at, beside ring and timeline. */
export function PaneSide(): JSX.Element {
  const session = useSession();
  const pane = session.pane.value;
  const set = session.model.breakpoints.value.filter(({ enabled }) => enabled).length;
  return (
    <aside class="pane" aria-label={NAMES[pane]}>
      <div class="tabs" role="tablist">
        {PANES.map((one) => (
          <button
            key={one}
            type="button"
            role="tab"
            aria-selected={one === pane}
            onClick={() => {
              session.pane.value = one;
            }}
          >
            {NAMES[one]}
            {one === 'breakpoints' && set > 0 ? <span>{set}</span> : null}
          </button>
        ))}
      </div>
      <div class="content" role="tabpanel">
        {pane === 'request' ? <RequestPane /> : null}
        {pane === 'plots' ? <PlotsPane /> : null}
        {pane === 'log' ? <LogPane /> : null}
        {pane === 'breakpoints' ? <BreakpointsPane /> : null}
      </div>
    </aside>
  );
}
