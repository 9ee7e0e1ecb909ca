import { type Signal, useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { asciiOf, byteText } from '../text/bytes.js';
import { countText } from '../text/count.js';
import { useWidth } from './use-width.js';

/** A stretch of bytes that stands out. */
export interface Stretch {
  readonly offset: number;
  readonly size: number;
}

/** CSS pixels; the style sheet has the same. */
const ROW = 18;
/** Rows that are there at once, however many bytes there are. */
const ROWS = 24;

/** Bytes as hex and ASCII. Only the rows that are seen are there, so that 4 KiB are no slower than 40. */
export function BytesView({
  bytes,
  length,
  marked,
}: {
  readonly bytes: Uint8Array;
  /** How many there were. */
  readonly length: number;
  readonly marked?: Signal<Stretch | undefined>;
}): JSX.Element {
  const [box, width] = useWidth<HTMLDivElement>();
  const top = useSignal(0);
  if (length === 0) return <p class="none">no bytes</p>;
  if (bytes.length === 0) return <p class="none">{countText(length)} B, of which none is kept</p>;
  const columns = width.value > 540 ? 16 : 8;
  const rows = Math.ceil(bytes.length / columns);
  const first = Math.max(0, Math.floor(top.value / ROW) - 2);
  const shown = Array.from({ length: Math.max(0, Math.min(ROWS, rows - first)) }, (_, i) => first + i);
  const stretch = marked?.value;
  const isMarked = (at: number): boolean =>
    stretch !== undefined && at >= stretch.offset && at < stretch.offset + stretch.size;
  return (
    <div class="bytes" ref={box}>
      <section
        class="scroll"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls is reached by keys.
        tabIndex={0}
        aria-label="Bytes"
        onScroll={(event) => {
          top.value = event.currentTarget.scrollTop;
        }}
      >
        <div class="all" style={{ height: `${rows * ROW}px` }}>
          {shown.map((row) => {
            const part = [...bytes.subarray(row * columns, (row + 1) * columns)];
            return (
              <div class="row" key={row} style={{ top: `${row * ROW}px` }}>
                <span class="offset">{(row * columns).toString(16).padStart(4, '0')}</span>
                <span class="hex">
                  {part.map((byte, i) => (
                    <i key={i} class={isMarked(row * columns + i) ? 'marked' : byte === 0 ? 'zero' : ''}>
                      {byteText(byte)}
                    </i>
                  ))}
                </span>
                <span class="ascii">
                  {part.map((byte, i) => (
                    <i
                      key={i}
                      class={
                        isMarked(row * columns + i) ? 'marked' : byte < 0x20 || byte > 0x7e ? 'zero' : ''
                      }
                    >
                      {asciiOf(byte)}
                    </i>
                  ))}
                </span>
              </div>
            );
          })}
        </div>
      </section>
      {length > bytes.length ? (
        <p class="cut">
          the first {countText(bytes.length)} of {countText(length)} B
        </p>
      ) : null}
    </div>
  );
}
