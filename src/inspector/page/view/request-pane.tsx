import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useMemo } from 'preact/hooks';
import type { BytesView as Bytes, ChainDetail, HeldNext, Hold } from '../../protocol.js';
import { useSession } from '../session.js';
import { bytesOf } from '../text/bytes.js';
import { addressText, countText } from '../text/count.js';
import { momentText } from '../text/time.js';
import { BytesView, type Stretch } from './bytes-view.js';
import { FieldsView } from './fields-view.js';
import { LatencyBar } from './latency-bar.js';

/** The request that is looked at, read back; else the one that a held queue would give the device next. */
export function RequestPane(): JSX.Element {
  const session = useSession();
  const item = session.chosen.value;
  const detail = session.detail.value;
  const hold = session.hold.value;
  if (item === undefined && hold?.next !== undefined) return <NextRequest hold={hold} next={hold.next} />;
  if (item === undefined)
    return (
      <div class="nothing">
        <h3>No request is looked at</h3>
        <p>
          Choose one in the timeline, or with <kbd>j</kbd> and <kbd>k</kbd>.
        </p>
      </div>
    );
  return (
    <article class="request">
      <header>
        <h3>
          #{item.chain} <span class="queue">{detail?.queueName ?? ''}</span>
        </h3>
        <p class="said">{item.text}</p>
        <p class="facts">
          head {item.head} · taken at {momentText(item.time)}
        </p>
      </header>
      <LatencyBar item={item} />
      {detail === undefined ? null : <Chain detail={detail} />}
    </article>
  );
}

function Chain({ detail }: { readonly detail: ChainDetail }): JSX.Element {
  const { request, response, descriptors, item } = detail;
  return (
    <>
      <Part name="Request" about={`${countText(request.length)} B that the device reads`} bytes={request} />
      {response === undefined ? null : (
        <Part
          name="Answer"
          about={`${countText(response.length)} of ${countText(item.writable)} B written`}
          bytes={response}
        />
      )}
      <Descriptors descriptors={descriptors} />
    </>
  );
}

/** What waits before the device sees it. */
function NextRequest({ hold, next }: { readonly hold: Hold; readonly next: HeldNext }): JSX.Element {
  return (
    <article class="request next">
      <header>
        <h3>
          #{next.chain} <span class="queue">comes next</span>
        </h3>
        <p class="said">{next.text}</p>
        <p class="facts">
          {next.head === undefined ? '' : `head ${next.head} · `}the device has not seen it
          {next.broken === undefined ? ` · ${hold.reason}` : ''}
        </p>
      </header>
      {next.broken === undefined ? (
        <Part
          name="Request"
          about={`${countText(next.request.length)} B that the device reads`}
          bytes={next.request}
        />
      ) : (
        <p class="broken-rule">
          Taking it breaks the queue{next.broken.rule === undefined ? '' : ` (VIRTIO ${next.broken.rule})`}:{' '}
          {next.broken.error}
        </p>
      )}
      <Descriptors descriptors={next.descriptors} />
    </article>
  );
}

function Part({ name, about, bytes: view }: { name: string; about: string; bytes: Bytes }): JSX.Element {
  const marked = useSignal<Stretch | undefined>(undefined);
  const bytes = useMemo(() => bytesOf(view.bytes), [view.bytes]);
  return (
    <section class="part">
      <h4>
        {name} <span>{about}</span>
      </h4>
      {view.fields.length > 0 ? <FieldsView fields={view.fields} marked={marked} /> : null}
      <BytesView bytes={bytes} length={view.length} marked={marked} />
    </section>
  );
}

function Descriptors({
  descriptors,
}: {
  readonly descriptors: ChainDetail['descriptors'];
}): JSX.Element | null {
  if (descriptors.length === 0) return null;
  return (
    <section class="part">
      <h4>
        Descriptors <span>{descriptors.length}</span>
      </h4>
      <table>
        <tbody>
          {descriptors.map(({ address, length, writable }, i) => (
            <tr key={i}>
              <td>
                <code>{addressText(address)}</code>
              </td>
              <td class="number">{countText(length)} B</td>
              <td>{writable ? 'device writes' : 'device reads'}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
