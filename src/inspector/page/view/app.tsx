import type { JSX } from 'preact';
import type { Session } from '../session.js';
import { SessionContext } from '../session.js';
import { DeviceSide } from './device-side.js';
import { Header } from './header.js';
import { Help } from './help.js';
import { PaneSide } from './pane-side.js';
import { QueueBar } from './queue-bar.js';
import { RingPanel } from './ring-panel.js';
import { StateStrip } from './state-strip.js';
import { Timeline } from './timeline.js';

/** The whole page. */
export function App({ session }: { readonly session: Session }): JSX.Element {
  return (
    <SessionContext.Provider value={session}>
      <div class="app">
        <Header />
        <DeviceSide />
        <main>
          <QueueBar />
          <StateStrip />
          <RingPanel />
          <Timeline />
        </main>
        <PaneSide />
        <Help />
      </div>
    </SessionContext.Provider>
  );
}
