import { useComputed } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import type { Said } from '../model/model.js';
import { useSession } from '../session.js';
import { clockText, momentText } from '../text/time.js';

/** Lines that are in the page at once: the newest. */
const SHOWN = 300;
/** Characters of a line that are shown before it is opened. */
const SHORT = 400;

/** What the device and its peers said and did, each with its time; choosing one moves the timeline there. */
export function LogPane(): JSX.Element {
  const session = useSession();
  const list = useRef<HTMLOListElement>(null);
  const atEnd = useRef(true);
  const said = useComputed(() => {
    const connection = session.connection.value?.connection;
    return session.model.said.value.filter((one) => one.connection === connection);
  });
  const epoch = session.model.hello.value?.epoch ?? 0;
  useEffect(() => {
    const element = list.current;
    if (element !== null && atEnd.current) element.scrollTop = element.scrollHeight;
  }, [said.value.at(-1)?.id]);
  const go = (one: Said): void => {
    const { span } = session.shown;
    session.show({ from: one.time - span / 2, span });
  };
  if (said.value.length === 0)
    return (
      <div class="nothing">
        <h3>Nothing was said yet</h3>
        <p>Lines that the device prints, warnings about its peer, and steps of its life come here.</p>
      </div>
    );
  return (
    <ol
      class="log"
      ref={list}
      onScroll={({ currentTarget: { scrollTop, scrollHeight, clientHeight } }) => {
        atEnd.current = scrollTop + clientHeight > scrollHeight - 8;
      }}
    >
      {said.value.slice(-SHOWN).map((one) => (
        <li key={one.id} class={one.type}>
          <button
            type="button"
            title={`${clockText(one.time, epoch)}: show it in the timeline`}
            onClick={() => go(one)}
          >
            <time>{momentText(one.time)}</time>
            <Text one={one} />
          </button>
        </li>
      ))}
    </ol>
  );
}

function Text({ one }: { readonly one: Said }): JSX.Element {
  const text = 'text' in one ? one.text : one.error;
  const what =
    one.type === 'event'
      ? one.what
      : one.type === 'broken'
        ? `broken${one.rule ? ` ${one.rule}` : ''}`
        : undefined;
  return (
    <span class="text">
      {what === undefined ? null : <b>{what} </b>}
      {text.length > SHORT ? `${text.slice(0, SHORT)}… (${text.length - SHORT} more)` : text}
    </span>
  );
}
