import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { VirtioDevice } from '../../src/virtio/device.js';
import type { DriverTransport } from '../../src/virtio/driver-transport.js';
import { type RingFeatures, ringFeatureBits } from '../../src/virtio/ring-features.js';
import { echoCases, eventsCases } from './echo-cases.js';
import { miscCases } from './misc-cases.js';
import type { Attached, Pairing } from './pairing.js';
import { otherQueueCases, queueResetCases } from './queue-reset-cases.js';
import { ringCases } from './ring-cases.js';
import { suspendCases } from './suspend-cases.js';

/** Cases for one device. Each gets a device of its own. */
export interface Cases {
  readonly make: () => VirtioDevice;
  /** The same as arguments of `virtio-misc serve`. */
  readonly command: readonly string[];
  readonly cases: Readonly<Record<string, (attached: Attached) => Promise<void>>>;
}

/** Those of which every combination is run. */
type Chosen = Required<Pick<RingFeatures, 'packed' | 'inOrder' | 'eventIdx' | 'indirectDesc'>>;

/** Every combination of them, as it is chosen. */
const COMBINATIONS: readonly Chosen[] = [false, true].flatMap((packed) =>
  [false, true].flatMap((inOrder) =>
    [true, false].flatMap((eventIdx) =>
      [true, false].map((indirectDesc) => ({ packed, inOrder, eventIdx, indirectDesc })),
    ),
  ),
);

/**
 * Runs every case on a pairing, and those of the devices over every kind of ring. What it can't have is reported by name.
 *
 * @param most - combinations of ring features to run; all unless told. The first are those that differ most. With 0 nothing is run but what the
 *   pairing can have more.
 */
export function runSuite(pairing: Pairing, most: number = COMBINATIONS.length): void {
  describe(`over ${pairing.name}`, () => {
    if (most === 0) return;
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
  for (const packed of [false, true]) runOver(pairing, { ringReset: true, ...pairing.more, packed });
}

/** 0 where each of the two that are offered unless told is as the other. */
function plainness({ eventIdx, indirectDesc }: Chosen): number {
  return eventIdx === indirectDesc ? (eventIdx ? 0 : 1) : 2;
}

/** The devices' cases with these ring features in force, and those not that are chosen not to be. */
function runOver(pairing: Pairing, features: RingFeatures): void {
  const bits = ringFeatureBits(features, 0n);
  const told = ringFeatureBits(Object.fromEntries(Object.keys(features).map((name) => [name, true])), 0n);
  const on = Object.entries(features).filter(([, chosen]) => chosen);
  describe(`over ${pairing.name}, ${on.map(([name]) => name).join(' and ') || 'plain split'} rings`, () => {
    const more = features.ringReset === true ? [queueResetCases, otherQueueCases] : [];
    if (features.suspend === true) more.push(suspendCases);
    for (const { make, command, cases } of [echoCases, eventsCases, miscCases, ...more]) {
      for (const [name, run] of Object.entries(cases)) {
        test(name, async () => {
          const attached = await pairing.attach(make, command, features);
          const connect = async (): Promise<DriverTransport> => {
            const transport = await attached.connect();
            const accept = transport.acceptFeatures.bind(transport);
            transport.acceptFeatures = (accepted) => {
              assert.equal(accepted & told, bits, 'the driver accepts just those');
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
  });
}
