import type { JSX } from 'preact';
import { useSession } from '../session.js';
import { spanText } from '../text/time.js';

/** Buttons for what keys and the wheel do, too. */
export function TimelineTools(): JSX.Element {
  const session = useSession();
  const { span } = session.window.value;
  const follows = session.follows.value && !session.model.recording;
  return (
    <header class="tools">
      <h2>Timeline</h2>
      <span class="span">{spanText(span)}</span>
      <ul class="legend">
        <li>
          <i class="tick kick" /> kick
        </li>
        <li>
          <i class="swatch taken" /> request
        </li>
        <li>
          <i class="tick interrupt" /> interrupt
        </li>
      </ul>
      <div class="buttons">
        <button type="button" title="Earlier (←)" aria-label="Earlier" onClick={() => session.pan(-0.4)}>
          ‹
        </button>
        <button type="button" title="Later (→)" aria-label="Later" onClick={() => session.pan(0.4)}>
          ›
        </button>
        <button type="button" title="Further (-)" aria-label="Further" onClick={() => session.zoom(2)}>
          −
        </button>
        <button type="button" title="Closer (+)" aria-label="Closer" onClick={() => session.zoom(0.5)}>
          +
        </button>
        <button type="button" title="All that is kept (a)" onClick={() => session.showAll()}>
          All
        </button>
        <button
          type="button"
          title="Zoom to the request (z)"
          disabled={session.chosen.value === undefined}
          onClick={() => session.zoomToChosen()}
        >
          Request
        </button>
        {session.model.recording ? null : (
          <button
            type="button"
            title="Follow what happens now (f)"
            aria-pressed={follows}
            onClick={() => session.follow()}
          >
            Follow
          </button>
        )}
      </div>
    </header>
  );
}
