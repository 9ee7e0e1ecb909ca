import type { JSX } from 'preact';
import { useSession } from '../session.js';
import { ConfigSection } from './config-section.js';
import { Connections } from './connections.js';
import { FeaturesSection } from './features-section.js';
import { StatusSection } from './status-section.js';

/** Which connections there are, and all about the one that is looked at but its rings. */
export function DeviceSide(): JSX.Element {
  const connection = useSession().connection.value;
  return (
    <aside class="side" aria-label="Device">
      <Connections />
      {connection === undefined ? null : (
        <>
          <StatusSection connection={connection} />
          <ConfigSection connection={connection} />
          <FeaturesSection connection={connection} />
        </>
      )}
    </aside>
  );
}
