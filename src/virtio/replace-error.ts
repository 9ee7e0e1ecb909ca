import type { VirtioDevice } from './device.js';
import { featureBits } from './features.js';

/** A device can't take another's place, because the driver would notice. The old one goes on. */
export class ReplaceError extends Error {
  override readonly name = 'ReplaceError';

  /** @param changed - what a driver can't get over without a new start. */
  constructor(changed: string) {
    super(`${changed}: restart the guest to use it`);
  }
}

/**
 * Checks what a driver has seen of a device already, and does not look at again.
 *
 * @param accepted - the feature bits that the driver accepted.
 * @throws ReplaceError that says what changed.
 */
export function checkReplaceable(old: VirtioDevice, device: VirtioDevice, accepted: bigint): void {
  const refuse = (changed: string): never => {
    throw new ReplaceError(changed);
  };
  if (device.id !== old.id) refuse(`the device id changed from ${old.id} to ${device.id}`);
  if (device.queues.length !== old.queues.length) {
    refuse(`the number of queues changed from ${old.queues.length} to ${device.queues.length}`);
  }
  for (const [index, { name, size, sizeLimit }] of device.queues.entries()) {
    const before = old.queues[index]!;
    if (size !== before.size)
      refuse(`queue ${index} (${name}) changed its size from ${before.size} to ${size}`);
    if (sizeLimit !== before.sizeLimit) {
      const [from, to] = [before.sizeLimit ?? 'none', sizeLimit ?? 'none'];
      refuse(`queue ${index} (${name}) changed its size limit from ${from} to ${to}`);
    }
  }
  if (device.config.size !== old.config.size) {
    refuse(`the configuration space changed its size from ${old.config.size} to ${device.config.size} bytes`);
  }
  const regions = ({ sharedMemory = [] }: VirtioDevice): string =>
    sharedMemory
      .map(({ id, size, files = false }) => `${id}: ${size} bytes${files ? ' for files' : ''}`)
      .join(', ');
  if (regions(device) !== regions(old)) {
    refuse(`the shared memory changed from ${regions(old) || 'none'} to ${regions(device) || 'none'}`);
  }
  const gone = accepted & old.features & ~device.features;
  if (gone !== 0n)
    refuse(`feature ${featureBits(gone).join(', ')} is offered no more, and the driver uses it`);
}
