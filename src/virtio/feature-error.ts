import { featureBits } from './features.js';

/** A driver accepted feature bits that were not offered (VIRTIO 1.3 §2.2.1). */
export class FeatureError extends Error {
  override readonly name = 'FeatureError';
  readonly code = 'FEATURE_NOT_OFFERED';
  readonly section = '2.2.1';

  constructor(accepted: bigint, offered: bigint) {
    const extra = featureBits(accepted & ~offered).join(', ');
    super(`the driver accepted feature bits that were not offered: ${extra} (VIRTIO §2.2.1)`);
  }
}
