import type { JSX } from 'preact';
import type { QueueState } from '../../protocol.js';
import { useSession } from '../session.js';
import { countText } from '../text/count.js';

/** The queues of the device, and what may be done to the one that is looked at. */
export function QueueBar(): JSX.Element {
  const session = useSession();
  const connection = session.connection.value?.connection;
  const chosen = session.queue.value?.queue;
  const { holds } = session.model;
  return (
    <div class="queue-bar">
      <div class="queues" role="tablist" aria-label="Queues">
        {session.model.queuesOf(connection).map((one) => (
          <button
            key={one.queue}
            type="button"
            role="tab"
            aria-selected={one.queue === chosen}
            class={stateOf(one)}
            onClick={() => session.choose(one.connection, one.queue)}
          >
            <b>{one.name}</b>
            <span>{about(one)}</span>
            {holds.value.some((hold) => hold.connection === connection && hold.queue === one.queue) ? (
              <i class="held">held</i>
            ) : null}
          </button>
        ))}
      </div>
      <Debugger />
    </div>
  );
}

function stateOf({ running, broken }: QueueState): string {
  return broken === undefined ? (running ? 'running' : 'idle') : 'broken';
}

function about({ running, size, layout, broken }: QueueState): string {
  if (broken !== undefined) return 'broken';
  return running ? `${countText(size ?? 0)} · ${layout}` : 'not set up';
}

function Debugger(): JSX.Element {
  const session = useSession();
  const hold = session.hold.value;
  const live = !session.model.recording && session.queue.value?.running === true;
  return (
    <div class="debugger" role="toolbar" aria-label="Debugger">
      <Tool
        pressed={hold !== undefined}
        disabled={!live || hold !== undefined}
        title="Hold this queue: its requests wait in the ring (h); the whole device: Shift h"
        picture="M2.5 1.5h2.5v9h-2.5zM7 1.5h2.5v9h-2.5z"
        act={() => session.holdQueue()}
      >
        Hold
      </Tool>
      <Tool
        disabled={hold === undefined}
        title="Give the device one request, and hold on (s)"
        picture="M1.5 1.5v9l6-4.5zM8.5 1.5h2v9h-2z"
        act={() => session.stepQueue()}
      >
        Step
      </Tool>
      <Tool
        disabled={hold === undefined}
        title="Let it go on (r); everything: Shift r"
        picture="M2.5 1.5v9l7.5-4.5z"
        act={() => session.release()}
      >
        Resume
      </Tool>
    </div>
  );
}

interface ToolProps {
  /** Whether it is on, of one that stays on. */
  readonly pressed?: boolean;
  readonly disabled: boolean;
  readonly title: string;
  /** The path of its icon, in a square of 12. */
  readonly picture: string;
  readonly act: () => void;
  readonly children: string;
}

function Tool({ pressed, disabled, title, picture, act, children }: ToolProps): JSX.Element {
  return (
    <button type="button" aria-pressed={pressed} disabled={disabled} title={title} onClick={act}>
      <svg viewBox="0 0 12 12" class="icon" aria-hidden="true">
        <path d={picture} />
      </svg>
      {children}
    </button>
  );
}
