import type { JSX } from 'preact';
import { useRef } from 'preact/hooks';
import { useSession } from '../session.js';
import { countText } from '../text/count.js';
import { theme, toggleTheme } from './palette.js';

/** What is served, how well it is seen, and what is for the whole page. */
export function Header(): JSX.Element {
  const session = useSession();
  const { hello, missed } = session.model;
  const link = session.feed.link.value;
  const input = useRef<HTMLInputElement>(null);
  const sources = hello.value?.sources ?? [];
  const source = sources.find(({ id }) => id === hello.value?.source);
  return (
    <header class="top">
      <h1>
        <Mark />
        virtio-misc <span>inspector</span>
      </h1>
      <p class={`link ${link.state}`} role="status">
        <i />
        {link.state === 'open' ? (source?.kind === 'recording' ? 'recording' : 'live') : link.state}
      </p>
      {sources.length > 1 ? (
        <select
          aria-label="What is looked at"
          value={source?.id}
          onChange={({ currentTarget: { value } }) => session.openSource(value)}
        >
          {sources.map(({ id, kind, name }) => (
            <option key={id} value={id}>
              {kind === 'recording' ? `recording ${name}` : `live: ${name}`}
            </option>
          ))}
        </select>
      ) : (
        <p class="title">{source?.name ?? hello.value?.title ?? ''}</p>
      )}
      {source?.damage === undefined ? null : <p class="damage">{source.damage}</p>}
      <div class="right">
        {missed.value > 0 ? (
          <p class="missed" title="This page was too slow for them; the device is never made to wait">
            {countText(missed.value)} samples dropped
          </p>
        ) : null}
        <input
          ref={input}
          id="open-recording"
          type="file"
          class="hidden"
          tabIndex={-1}
          aria-hidden="true"
          onChange={({ currentTarget }) => {
            const file = currentTarget.files?.[0];
            if (file !== undefined) session.openRecording(file);
            currentTarget.value = '';
          }}
        />
        <button type="button" title="Open a recording (o)" onClick={() => input.current?.click()}>
          Open recording
        </button>
        <button
          type="button"
          title="Dark or light (t)"
          aria-label={`Theme: ${theme.value}`}
          onClick={toggleTheme}
        >
          <svg viewBox="0 0 16 16" class="icon" aria-hidden="true">
            <circle cx="8" cy="8" r="6.25" fill="none" stroke="currentColor" stroke-width="1.5" />
            <path d="M8 1.75 A6.25 6.25 0 0 1 8 14.25 Z" fill="currentColor" />
          </svg>
        </button>
        <button
          type="button"
          title="Keys (?)"
          aria-label="Keys"
          onClick={() => {
            session.help.value = true;
          }}
        >
          ?
        </button>
      </div>
    </header>
  );
}

/** A ring, with one entry that is being looked at. */
function Mark(): JSX.Element {
  return (
    <svg viewBox="0 0 20 20" class="mark" aria-hidden="true">
      <circle
        cx="10"
        cy="10"
        r="7.5"
        fill="none"
        stroke="currentColor"
        stroke-width="2.5"
        stroke-dasharray="4.7 1.19"
      />
      <circle cx="10" cy="10" r="2.6" class="eye" />
    </svg>
  );
}
