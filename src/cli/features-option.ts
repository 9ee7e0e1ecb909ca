import { InvalidArgumentError, Option } from 'commander';
import { RING_FEATURE_NAMES, type RingFeatures } from '../virtio/ring-features.js';

/** As they are written on the command line; QEMU's underscores will do too. */
const WRITTEN = new Map(
  RING_FEATURE_NAMES.map((name) => [name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`), name]),
);

/** `--features`, for the commands that serve: a choice of ring features. */
export function featuresOption(): Option {
  const names = [...WRITTEN.keys()].join(', ');
  return new Option(
    '--features <names>',
    `ring features to offer, or with no- not to: ${names}; those from event-idx on are offered unless told, as far as the transport can say them`,
  ).argParser((text) => {
    const choice: Record<string, boolean> = {};
    for (const word of text.split(',')) {
      const [, no, name] = /^(no-)?(.*)$/s.exec(word.trim().replaceAll('_', '-'))!;
      const key = WRITTEN.get(name!);
      if (key === undefined) {
        throw new InvalidArgumentError(
          `write some of ${names}, with commas between, and no- before what is not to be offered.`,
        );
      }
      choice[key] = no === undefined;
    }
    return choice as RingFeatures;
  });
}
