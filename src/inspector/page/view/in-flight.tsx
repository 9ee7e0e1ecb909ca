import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import type { PackedSample, SplitSample } from '../../protocol.js';
import { useSession } from '../session.js';
import { countText } from '../text/count.js';
import { spanText } from '../text/time.js';

/** Chains that are told one by one. */
const SHOWN = 8;

/** What the device has, and since when. */
export function InFlight({ ring }: { readonly ring: SplitSample | PackedSample }): JSX.Element {
  const session = useSession();
  const now = useSignal(session.now);
  useEffect(() => {
    const timer = setInterval(() => {
      now.value = session.now;
    }, 100);
    return () => clearInterval(timer);
  }, []);
  return (
    <div class="in-flight">
      <span class="what">
        in the device <b>{countText(ring.inFlightCount)}</b>
      </span>
      <span class="what">
        waiting <b>{countText(ring.waiting)}</b>
      </span>
      <ol>
        {ring.inFlight.slice(0, SHOWN).map(({ head, taken, id }) => (
          <li key={id ?? head}>
            <button
              type="button"
              disabled={id === undefined}
              onClick={() => id !== undefined && session.lookUp(ring.connection, ring.queue, id)}
            >
              head {head}
              {taken === undefined ? null : <b>{ageText(now.value - taken)}</b>}
            </button>
          </li>
        ))}
      </ol>
      {ring.inFlightCount > SHOWN ? (
        <span class="more">+ {countText(ring.inFlightCount - SHOWN)}</span>
      ) : null}
    </div>
  );
}

/** Ages are as old as the last look at the ring: less than a millisecond is not to be told. */
function ageText(ns: number): string {
  return ns < 1e6 ? '< 1 ms' : spanText(ns);
}
