import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { SHORTCUTS } from '../keys.js';
import { useSession } from '../session.js';

const GROUPS = ['Debugger', 'Timeline', 'Rings', 'Page'] as const;

/** What keys do. */
export function Help(): JSX.Element | null {
  const session = useSession();
  const dialog = useRef<HTMLDialogElement>(null);
  const open = session.help.value;
  useEffect(() => {
    if (open && dialog.current?.open === false) dialog.current.showModal();
    else if (!open) dialog.current?.close();
  }, [open]);
  return (
    <dialog
      ref={dialog}
      aria-labelledby="help-title"
      onClose={() => {
        session.help.value = false;
      }}
    >
      <header>
        <h2 id="help-title">Keys</h2>
        <button type="button" aria-label="Close" onClick={() => dialog.current?.close()}>
          ×
        </button>
      </header>
      <div class="groups">
        {GROUPS.map((group) => (
          <section key={group}>
            <h3>{group}</h3>
            <dl>
              {SHORTCUTS.filter((one) => one.group === group).map(({ shown, what }) => (
                <div key={shown}>
                  <dt>
                    <kbd>{shown}</kbd>
                  </dt>
                  <dd>{what}</dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
      </div>
      <p>
        The wheel zooms the timeline where the pointer is, dragging moves it. In a ring with the focus, arrow
        keys go from entry to entry.
      </p>
    </dialog>
  );
}
