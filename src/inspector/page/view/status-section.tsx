import type { JSX } from 'preact';
import type { ConnectionState } from '../../protocol.js';
import { momentText } from '../text/time.js';

const ACKNOWLEDGE = 1;
const DRIVER = 2;
const DRIVER_OK = 4;
const FEATURES_OK = 8;
const DEVICE_NEEDS_RESET = 64;
const FAILED = 128;

/** In the order in which a driver goes through them (VIRTIO 1.3 §3.1.1). */
const STEPS: readonly (readonly [bit: number, name: string])[] = [
  [ACKNOWLEDGE, 'ACKNOWLEDGE'],
  [DRIVER, 'DRIVER'],
  [FEATURES_OK, 'FEATURES_OK'],
  [DRIVER_OK, 'DRIVER_OK'],
];

/** How far the driver is, and what led here. */
export function StatusSection({ connection }: { readonly connection: ConnectionState }): JSX.Element {
  const { status, steps, life, broken, error, replaced } = connection;
  const wrong = broken ?? error;
  return (
    <section>
      <h2>
        Status <span>{status === undefined ? life : `0x${status.toString(16).padStart(2, '0')}`}</span>
      </h2>
      {status === undefined ? (
        <p class="none">this front-end does not tell the status</p>
      ) : (
        <ol class="status">
          {STEPS.map(([bit, name]) => (
            <li key={bit} class={(status & bit) !== 0 ? 'done' : ''}>
              {name}
            </li>
          ))}
          {(status & DEVICE_NEEDS_RESET) !== 0 ? <li class="wrong">NEEDS_RESET</li> : null}
          {(status & FAILED) !== 0 ? <li class="wrong">FAILED</li> : null}
        </ol>
      )}
      {wrong === undefined ? null : <p class="wrong">{wrong}</p>}
      {replaced > 0 ? (
        <p class="none">edited code took its place {replaced === 1 ? 'once' : `${replaced} times`}</p>
      ) : null}
      <details>
        <summary>{steps.length} steps</summary>
        <ol class="steps">
          {steps.map(({ time, what, text }, i) => (
            <li key={i}>
              <time>{momentText(time, 1e6)}</time>
              <span>
                <b>{what}</b> {text}
              </span>
            </li>
          ))}
        </ol>
      </details>
    </section>
  );
}
