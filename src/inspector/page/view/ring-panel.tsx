import { useComputed, useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import type { RingSample } from '../../protocol.js';
import type { Area } from '../model/cell.js';
import { queueKey } from '../model/model.js';
import { packedPicture } from '../model/packed-picture.js';
import { splitPicture } from '../model/split-picture.js';
import { useSession } from '../session.js';
import { countText } from '../text/count.js';
import { Legend } from './glyph.js';
import { InFlight } from './in-flight.js';
import { type Pointed, RingArea } from './ring-area.js';

/** The ring of the queue that is looked at, as it lies in memory. */
export function RingPanel(): JSX.Element {
  const session = useSession();
  const pointed = useSignal<Pointed | undefined>(undefined);
  const sample = useComputed<RingSample | undefined>(() => {
    const queue = session.queue.value;
    if (queue?.running !== true) return undefined;
    return session.model.rings.value.get(queueKey(queue.connection, queue.queue));
  });
  const areas = useComputed<readonly Area[]>(() => {
    const ring = sample.value;
    if (ring === undefined || ring.layout === 'none') return [];
    const { areas } = session.queue.value ?? {};
    return ring.layout === 'split' ? splitPicture(ring, areas) : packedPicture(ring, areas);
  });
  const first = useComputed(() => areas.value[0]);
  const second = useComputed(() => areas.value[1]);
  const third = useComputed(() => areas.value[2]);
  // What is pointed at stands out in all areas; else what is looked at, while it is in the ring.
  const chain = useComputed(() => {
    if (pointed.value !== undefined) return pointed.value.cell.chain;
    const item = session.chosen.value;
    const queue = session.queue.value;
    if (item === undefined || item.connection !== queue?.connection || item.queue !== queue.queue)
      return undefined;
    return item.used === undefined ? item.head : undefined;
  });
  const ring = sample.value;
  const count = areas.value.length;
  return (
    <section class="panel ring" aria-label="Ring">
      {ring === undefined || ring.layout === 'none' ? (
        <Nothing sample={ring} />
      ) : (
        <>
          <div class="areas" data-areas={count}>
            {[first, second, third].slice(0, count).map((area, i) => (
              <RingArea
                key={i}
                area={area}
                areas={count}
                chain={chain}
                pointed={pointed}
                point={(at) => {
                  pointed.value = at;
                }}
              />
            ))}
          </div>
          <InFlight ring={ring} />
          <footer>
            {pointed.value === undefined ? <Legend /> : <p class="pointed">{pointed.value.cell.title}</p>}
            {ring.entries < ring.size ? (
              <p class="part-of">
                {ring.entries} of {countText(ring.size)} entries
              </p>
            ) : null}
          </footer>
        </>
      )}
    </section>
  );
}

/** In the place of a ring. */
function Nothing({ sample }: { readonly sample: RingSample | undefined }): JSX.Element {
  const session = useSession();
  const queue = session.queue.value;
  const why =
    sample?.layout === 'none'
      ? sample.reason
      : session.model.recording
        ? 'a recording has what passed, and no memory'
        : queue === undefined
          ? 'no driver is there yet'
          : queue.running
            ? 'waiting for the first look at it'
            : 'the driver has not set it up';
  return (
    <div class="nothing">
      <h3>No ring to draw</h3>
      <p>{why}</p>
    </div>
  );
}
