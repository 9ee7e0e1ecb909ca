import type { JSX } from 'preact';
import type { TimelineItem } from '../../protocol.js';
import { useSession } from '../session.js';
import { countText } from '../text/count.js';
import { clockText, momentText, spanText } from '../text/time.js';
import type { OpenItem, Target } from './drawing.js';

/** What is under the pointer. */
export function TimelineTip({ target, x, y }: { target: Target; x: number; y: number }): JSX.Element {
  const session = useSession();
  const { item } = target;
  const epoch = session.model.hello.value?.epoch ?? 0;
  const [title, text] = said(item);
  return (
    <div class="tip" style={{ left: `${Math.max(0, x - 130)}px`, bottom: `calc(100% - ${y - 10}px)` }}>
      <b>{title}</b>
      {text === '' ? null : <span class="text">{text.slice(0, 200)}</span>}
      <span class="when">
        {momentText(item.time)} · {clockText(item.time, epoch)}
      </span>
    </div>
  );
}

function said(item: TimelineItem | OpenItem): [title: string, text: string] {
  switch (item.type) {
    case 'kick':
      return ['kick', 'the driver told the device to look'];
    case 'interrupt':
      return item.suppressed
        ? ['no interrupt', 'the driver did not want one']
        : ['interrupt', 'the device told the driver to look'];
    case 'chain':
      return [
        `#${item.chain} ${item.used === undefined ? 'in the device' : `in ${spanText(item.used - item.time)}`}`,
        item.text,
      ];
    case 'open':
      return ['in the device', `head ${item.head}`];
    case 'gap':
      return [
        `${countText(item.chains)} requests are not told of one by one`,
        `in ${spanText(item.to - item.time)}`,
      ];
    case 'broken':
      return [item.rule === undefined ? 'broken' : `broken: VIRTIO ${item.rule}`, item.error];
    case 'event':
      return [item.what, item.text];
    default:
      return [item.type, item.text];
  }
}
