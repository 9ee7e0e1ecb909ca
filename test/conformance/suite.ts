import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { VirtioDevice } from '../../src/virtio/device.js';
import type { DriverTransport } from '../../src/virtio/driver-transport.js';
import { ALL_RING_FEATURES } from '../../src/virtio/features.js';
import { type RingFeatures, ringFeatureBits } from '../../src/virtio/ring-features.js';
import { echoCases, eventsCases } from './echo-cases.js';
import { miscCases } from './misc-cases.js';
import type { Attached, Pairing } from './pairing.js';
import { ringCases } from './ring-cases.js';

/** Cases for one device. Each gets a device of its own. */
export interface Cases {
  readonly make: () => VirtioDevice;
  /** The same as arguments of `virtio-misc serve`. */
  readonly command: readonly string[];
  readonly cases: Readonly<Record<string, (attached: Attached) => Promise<void>>>;
}

/** Every combination of ring features, as it is chosen. */
const COMBINATIONS: readonly Required<RingFeatures>[] = [false, true].flatMap((packed) =>
  [false, true].flatMap((inOrder) =>
    [true, false].flatMap((eventIdx) =>
      [true, false].map((indirectDesc) => ({ packed, inOrder, eventIdx, indirectDesc })),
    ),
  ),
);

/**
 * Runs every case on a pairing, and those of the devices over every kind of ring. What it can't have is reported by name.
 *
 * @param most - combinations of ring features to run; all unless told. The first are those that differ most.
 */
export function runSuite(pairing: Pairing, most: number = COMBINATIONS.length): void {
  describe(`over ${pairing.name}`, () => {
    for (const { make, command, cases } of [echoCases, eventsCases, miscCases, ringCases]) {
      for (const [name, run] of Object.entries(cases)) {
        const why = pairing.without?.[name];
        test(name, why === undefined ? {} : { skip: why }, async () => {
          const attached = await pairing.attach(make, command);
          try {
            await run(attached);
          } finally {
            await attached.close();
          }
        });
      }
    }
  });
  const byDifference = [...COMBINATIONS].sort((a, b) => plainness(a) - plainness(b));
  for (const features of byDifference.slice(0, most)) runOver(pairing, features);
}

/** 0 where each of the two that are offered unless told is as the other. */
function plainness({ eventIdx, indirectDesc }: Required<RingFeatures>): number {
  return eventIdx === indirectDesc ? (eventIdx ? 0 : 1) : 2;
}

/** The devices' cases with these ring features in force, and no others. */
function runOver(pairing: Pairing, features: Required<RingFeatures>): void {
  const bits = ringFeatureBits(features);
  const { never } = pairing;
  const skip = never !== undefined && (bits & never.bits) !== 0n ? { skip: never.why } : {};
  const on = Object.entries(features).filter(([, chosen]) => chosen);
  describe(
    `over ${pairing.name}, ${on.map(([name]) => name).join(' and ') || 'plain split'} rings`,
    skip,
    () => {
      for (const { make, command, cases } of [echoCases, eventsCases, miscCases]) {
        for (const [name, run] of Object.entries(cases)) {
          test(name, async () => {
            const attached = await pairing.attach(make, command, features);
            const connect = async (): Promise<DriverTransport> => {
              const transport = await attached.connect();
              const accept = transport.acceptFeatures.bind(transport);
              transport.acceptFeatures = (accepted) => {
                assert.equal(accepted & ALL_RING_FEATURES, bits, 'the driver accepts just those');
                return accept(accepted);
              };
              return transport;
            };
            // The lines are an accessor's in some: it stays the same object.
            const over: Attached = Object.create(attached, { connect: { value: connect } });
            try {
              await run(over);
            } finally {
              await attached.close();
            }
          });
        }
      }
    },
  );
}
