import type { JSX } from 'preact';
import type { ConnectionState, FeatureState } from '../../protocol.js';

/** What a feature's mark says. */
function stateOf(
  { offered, accepted }: FeatureState,
  negotiated: boolean,
): 'accepted' | 'refused' | 'offered' | 'alone' {
  if (accepted) return offered ? 'accepted' : 'alone';
  return negotiated ? 'refused' : 'offered';
}

const MARKS = { accepted: '✓', refused: '–', offered: '·', alone: '!' } as const;
const SAID = {
  accepted: 'offered and accepted',
  refused: 'offered and refused',
  offered: 'offered; the driver has not decided',
  alone: 'accepted though it was not offered',
} as const;

/** What the device offers, and what of it the driver took. */
export function FeaturesSection({ connection }: { readonly connection: ConnectionState }): JSX.Element {
  const { features, negotiated } = connection;
  const accepted = features.filter((feature) => feature.accepted).length;
  return (
    <section>
      <h2>
        Features{' '}
        <span>{negotiated ? `${accepted} of ${features.length}` : `${features.length} offered`}</span>
      </h2>
      <ul class="features">
        {features.map((feature) => {
          const state = stateOf(feature, negotiated);
          return (
            <li key={feature.bit} class={state} title={`bit ${feature.bit}: ${SAID[state]}`}>
              <span class="mark" aria-hidden="true">
                {MARKS[state]}
              </span>
              <span class="name">{shortName(feature.name)}</span>
              <span class="bit">{feature.bit}</span>
              <span class="hidden">{SAID[state]}</span>
            </li>
          );
        })}
      </ul>
    </section>
  );
}

/** Without what all names begin with. */
function shortName(name: string): string {
  return name.replace(/^VIRTIO_(?:F_|(?=[A-Z0-9]+_F_))/, '');
}
