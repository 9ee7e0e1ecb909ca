import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect, useMemo } from 'preact/hooks';
import type { ConfigChange, ConnectionState, FieldView } from '../../protocol.js';
import { useSession } from '../session.js';
import { bytesOf } from '../text/bytes.js';
import { countText } from '../text/count.js';
import { momentText } from '../text/time.js';
import { BytesView, type Stretch } from './bytes-view.js';
import { FieldsView } from './fields-view.js';

/** ns that a change stands out. */
const FRESH = 3e9;

/** The configuration space: its fields, its bytes, and what was changed last. */
export function ConfigSection({ connection }: { readonly connection: ConnectionState }): JSX.Element {
  const session = useSession();
  const marked = useSignal<Stretch | undefined>(undefined);
  const { config } = connection;
  const bytes = useMemo(() => bytesOf(config.bytes), [config.bytes]);
  const last = config.changes.at(-1);
  const tick = useSignal(0);
  useEffect(() => {
    if (last === undefined) return undefined;
    const timer = setTimeout(() => {
      tick.value += 1;
    }, FRESH / 1e6);
    return () => clearTimeout(timer);
  }, [last?.time]);
  void tick.value;
  const recent = config.changes.filter(({ time }) => session.now - time < FRESH);
  return (
    <section>
      <h2>
        Configuration <span>{countText(bytes.length)} B</span>
      </h2>
      {bytes.length === 0 ? (
        <p class="none">this device has none</p>
      ) : (
        <>
          <FieldsView
            fields={config.fields}
            marked={marked}
            fresh={(field) => recent.some((change) => touches(change, field))}
          />
          <details open={config.fields.length === 0}>
            <summary>bytes · read {countText(config.reads)} ×</summary>
            <BytesView bytes={bytes} length={bytes.length} marked={marked} />
          </details>
          {config.changes.length === 0 ? null : (
            <details>
              <summary>
                {config.changes.length === 1 ? '1 change' : `${config.changes.length} changes`}, the last by
                the {last?.by}
              </summary>
              <ol class="steps">
                {config.changes.toReversed().map(({ time, by, offset, bytes: changed }) => (
                  <li key={`${time} ${offset}`}>
                    <time>{momentText(time, 1e6)}</time>
                    <span>
                      <b>{by}</b> at {offset}:{' '}
                      <code>{changed.length > 32 ? `${changed.slice(0, 32)}…` : changed}</code>
                    </span>
                  </li>
                ))}
              </ol>
            </details>
          )}
        </>
      )}
    </section>
  );
}

function touches(change: ConfigChange, { offset, size }: FieldView): boolean {
  return change.offset < offset + size && offset < change.offset + change.bytes.length / 2;
}
