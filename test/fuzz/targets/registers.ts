import assert from 'node:assert/strict';
import fc from 'fast-check';
import { FunctionBench } from '../../../src/transports/pci/testing/function-bench.js';
import { ProbeDevice } from '../../../src/transports/pci/testing/probe-device.js';
import { type Access, access, apply, options } from '../../../src/transports/pci/testing/rude-driver.js';
import { type Target, target } from '../target.js';

/** Of these kinds each is read, and then written. */
const BOTH: ReadonlySet<Access['kind']> = new Set<Access['kind']>(['config', 'bar']);

export const REGISTERS: Target = target(
  'pci-registers',
  'access to a register',
  fc.tuple(options, fc.array(access, { maxLength: 200, size: 'max' })),
  ([chosen, accesses]) => {
    const bench = new FunctionBench(new ProbeDevice(), chosen);
    let steps = 0;
    for (const each of accesses) {
      apply(bench, each);
      steps += BOTH.has(each.kind) ? 2 : 1;
    }
    bench.function.reset(() => {});
    // As new: nothing of it is negotiated.
    bench.setConfig(4, 2, 7);
    assert.equal(bench.common('device_status'), 0);
    return steps;
  },
);
