import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import type { Breakpoint, BreakpointOn } from '../../protocol.js';
import { useSession } from '../session.js';
import { countText } from '../text/count.js';

/** What a breakpoint waits for, for people. */
export function breakpointText({ on, queue }: Pick<Breakpoint, 'on' | 'queue'>): string {
  const where = queue === undefined ? 'any queue' : queue;
  switch (on.kind) {
    case 'any':
      return `each request of ${where}`;
    case 'when':
      return `${on.when}${queue === undefined ? '' : ` in ${where}`}`;
    case 'broken':
      return `a broken rule in ${where}`;
    case 'chain':
      return `request ${countText(on.n)}${on.from === 'now' ? ' from when it was set' : ''} of ${where}`;
  }
}

/** All breakpoints, and one more. */
export function BreakpointsPane(): JSX.Element {
  const session = useSession();
  const { breakpoints } = session.model;
  return (
    <div class="breakpoints">
      <Editor />
      {breakpoints.value.length === 0 ? (
        <p class="none">
          No breakpoint is set. A hit holds its queue before the device sees the request; the guest just
          waits.
        </p>
      ) : (
        <ul>
          {breakpoints.value.map((one) => (
            <li key={one.id} class={one.enabled ? '' : 'off'}>
              <label>
                <input
                  type="checkbox"
                  checked={one.enabled}
                  onChange={({ currentTarget: { checked } }) =>
                    session.do({ command: 'enable', breakpoint: one.id, enabled: checked })
                  }
                />
                <code>{breakpointText(one)}</code>
              </label>
              <span class="hits">
                {one.hits === 1 ? '1 hit' : `${countText(one.hits)} hits`}
                {one.misfits > 0 ? `, ${countText(one.misfits)} without such a field` : ''}
              </span>
              <button
                type="button"
                aria-label={`Remove ${breakpointText(one)}`}
                title="Remove"
                onClick={() => session.do({ command: 'unbreak', breakpoint: one.id })}
              >
                ×
              </button>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

const KINDS: readonly (readonly [BreakpointOn['kind'], string])[] = [
  ['when', 'a field’s value'],
  ['any', 'each request'],
  ['chain', 'the n-th request'],
  ['broken', 'a broken rule'],
];

function Editor(): JSX.Element {
  const session = useSession();
  const kind = useSignal<BreakpointOn['kind']>('when');
  const queue = useSignal('');
  const when = useSignal('');
  const n = useSignal('1');
  const from = useSignal<'start' | 'now'>('now');
  const connection = session.connection.value?.connection;
  const queues = session.model.queuesOf(connection);
  const names = [
    ...new Set(
      queues.filter(({ name }) => queue.value === '' || name === queue.value).flatMap(({ names }) => names),
    ),
  ];
  const set = (event: Event): void => {
    event.preventDefault();
    const on: BreakpointOn =
      kind.value === 'when'
        ? { kind: 'when', when: when.value }
        : kind.value === 'chain'
          ? { kind: 'chain', n: Number(n.value), from: from.value }
          : { kind: kind.value };
    session.do({
      command: 'break',
      ...(connection !== undefined && { connection }),
      ...(queue.value !== '' && { queue: queue.value }),
      on,
    });
  };
  return (
    <form onSubmit={set}>
      <label>
        Hold at
        <select
          id="breakpoint-kind"
          value={kind.value}
          onChange={({ currentTarget: { value } }) => {
            kind.value = value as BreakpointOn['kind'];
          }}
        >
          {KINDS.map(([value, text]) => (
            <option key={value} value={value}>
              {text}
            </option>
          ))}
        </select>
      </label>
      <label>
        in
        <select
          value={queue.value}
          onChange={({ currentTarget: { value } }) => {
            queue.value = value;
          }}
        >
          <option value="">any queue</option>
          {queues.map(({ name }) => (
            <option key={name} value={name}>
              {name}
            </option>
          ))}
        </select>
      </label>
      {kind.value === 'when' ? (
        <label class="wide">
          <span class="hidden">Condition</span>
          <input
            class="when"
            list="field-names"
            placeholder="type == 77"
            spellcheck={false}
            autocomplete="off"
            maxLength={500}
            required
            value={when.value}
            onInput={({ currentTarget: { value } }) => {
              when.value = value;
            }}
          />
          <datalist id="field-names">
            {names.map((name) => (
              <option key={name} value={`${name} == `} />
            ))}
          </datalist>
        </label>
      ) : null}
      {kind.value === 'chain' ? (
        <div class="wide count">
          <input
            type="number"
            min={1}
            required
            aria-label="Which request"
            value={n.value}
            onInput={({ currentTarget: { value } }) => {
              n.value = value;
            }}
          />
          <select
            aria-label="Counted from"
            value={from.value}
            onChange={({ currentTarget: { value } }) => {
              from.value = value as 'start' | 'now';
            }}
          >
            <option value="now">from now on</option>
            <option value="start">from the start</option>
          </select>
        </div>
      ) : null}
      {kind.value === 'when' && names.length > 0 ? (
        <p class="names">
          {names.slice(0, 12).map((name) => (
            <button
              key={name}
              type="button"
              onClick={() => {
                when.value = `${when.value}${when.value.trim() === '' ? '' : ' && '}${name} == `;
              }}
            >
              {name}
            </button>
          ))}
        </p>
      ) : null}
      <button type="submit" class="primary" disabled={session.model.recording}>
        Set breakpoint
      </button>
    </form>
  );
}
