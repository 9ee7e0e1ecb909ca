import type { JSX } from 'preact';
import type { ConnectionState } from '../../protocol.js';
import { useSession } from '../session.js';

/** Every front-end that is there, or was. */
export function Connections(): JSX.Element {
  const session = useSession();
  const all = [...session.model.connections.value.values()].sort((a, b) => a.connection - b.connection);
  const chosen = session.connection.value?.connection;
  if (all.length === 0)
    return (
      <section>
        <h2>Connections</h2>
        <p class="none">Nobody is connected. A front-end that connects to the socket appears here.</p>
      </section>
    );
  return (
    <section>
      <h2>
        Connections <span>{all.length}</span>
      </h2>
      <ul class="connections">
        {all.map((one) => (
          <li key={one.connection}>
            <button
              type="button"
              aria-pressed={one.connection === chosen}
              title={one.socket}
              onClick={() => session.choose(one.connection)}
            >
              <i class={`life ${one.broken === undefined ? one.life : 'broken'}`} />
              <b>{one.device.name}</b>
              <span class="id">id {one.device.id}</span>
              <span class="how">
                #{one.connection} · {one.transport}
              </span>
              <span class="state">{lifeText(one)}</span>
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

function lifeText({ life, broken, error }: ConnectionState): string {
  if (life === 'gone') return error === undefined ? 'gone' : 'broke off';
  return broken === undefined ? life : 'broken';
}
