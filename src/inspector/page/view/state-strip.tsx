import type { JSX } from 'preact';
import { useSession } from '../session.js';
import { countText } from '../text/count.js';

/** In one line, what stands in the way: the server is gone, the queue is held or broken, something was refused. */
export function StateStrip(): JSX.Element | null {
  const session = useSession();
  const link = session.feed.link.value;
  const hold = session.hold.value;
  const broken = session.queue.value?.broken;
  const notice = session.notice.value;
  const elsewhere = session.model.holds.value.filter((one) => one !== hold);
  if (link.state === 'lost')
    return (
      <p class="strip wrong" role="alert">
        <b>Connection lost.</b> {link.why} It is tried again; what is shown is as it was.
      </p>
    );
  if (notice !== '')
    return (
      <p class="strip wrong" role="alert">
        <span>{notice}</span>
        <button
          type="button"
          aria-label="Close"
          onClick={() => {
            session.notice.value = '';
          }}
        >
          ×
        </button>
      </p>
    );
  if (hold !== undefined)
    return (
      <p class="strip held" role="status">
        <b>Held</b>
        <span class="why">{hold.by === 'person' ? 'by you' : hold.reason}</span>
        <span>
          {hold.waiting === 0
            ? 'no request waits'
            : `${countText(hold.waiting)} ${hold.waiting === 1 ? 'request waits' : 'requests wait'}`}
        </span>
        {hold.next === undefined || hold.next.broken !== undefined ? (
          <span class="next">{hold.unseen ?? ''}</span>
        ) : (
          <button type="button" class="next" title="Look at it" onClick={() => session.look(undefined)}>
            next: #{hold.next.chain} {hold.next.text}
          </button>
        )}
      </p>
    );
  if (broken !== undefined)
    return (
      <p class="strip wrong" role="alert">
        <b>Broken{broken.rule === undefined ? '' : `: VIRTIO ${broken.rule}`}</b> <span>{broken.error}</span>
      </p>
    );
  if (elsewhere[0] !== undefined) {
    const { connection, queue, reason } = elsewhere[0];
    return (
      <p class="strip held" role="status">
        <b>Another queue is held</b> <span class="why">{reason}</span>
        <button type="button" class="next" onClick={() => session.choose(connection, queue)}>
          look at it
        </button>
      </p>
    );
  }
  return null;
}
