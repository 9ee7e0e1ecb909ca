import { describe, test } from 'node:test';
import type { VirtioDevice } from '../../src/virtio/device.js';
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

/** Runs every case on a pairing. What it can't have is reported by name. */
export function runSuite(pairing: Pairing): void {
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
}
