import type { RingKind } from '../../../virtio/ring-kind.js';
import type { InflightPlace } from '../../../virtqueue/inflight.js';
import type { Environment } from '../../session.js';
import { inflightNotes } from './records.js';
import type { Ring } from './ring.js';

/** Where it is kept for the next process which chains of a ring that starts are in flight, if anybody keeps anything. */
export function inflightRecord(
  ring: Ring,
  kind: RingKind,
  environment: Environment,
): InflightPlace | undefined {
  const { os, keep } = environment;
  if (keep === undefined) return undefined;
  const size = kind.inflightSize(ring.size);
  if (ring.inflight?.size !== size) {
    const { fd, mapping } = os.createMemory('virtio-misc-inflight', size);
    ring.inflight?.release();
    ring.inflight = mapping;
    // Before the first chain is taken.
    keep.settle(0, inflightNotes(ring.index, fd));
    os.closeFd(fd);
  }
  return { view: ring.inflight.view, entries: ring.size, ours: true };
}
