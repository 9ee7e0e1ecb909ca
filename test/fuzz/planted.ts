import { openSync } from 'node:fs';
import fc from 'fast-check';
import { asyncTarget, type Target, target } from './target.js';

const numbers = fc.array(fc.nat(1000), { maxLength: 50 });
const leaked: Uint8Array[] = [];

/** Targets that are broken in all ways that a fuzzer must see: `fuzz.test.ts` looks whether it does. */
export const TARGETS: readonly Target[] = [
  target('sound', 'number', numbers, (all) => all.length),
  target('throws', 'number', numbers, (all) => {
    if (all.some((one) => one > 900)) throw new Error('more than 900');
    return all.length;
  }),
  target('spins', 'number', numbers, (all) => {
    while (all.length === 7);
    return all.length;
  }),
  asyncTarget('sleeps', 'number', numbers, async (all) => {
    const alarm = setInterval(() => {}, 1000);
    if (all.length === 7) await new Promise(() => {});
    clearInterval(alarm);
    return all.length;
  }),
  target('dies', 'number', numbers, (all) => {
    if (all.length === 7) process.kill(process.pid, 'SIGSEGV');
    return all.length;
  }),
  asyncTarget('throws later', 'number', numbers, async (all) => {
    if (all.length === 7) {
      setImmediate(() => {
        throw new Error('nobody catches this');
      });
    }
    await new Promise(setImmediate);
    return all.length;
  }),
  target('grows', 'number', numbers, (all) => {
    leaked.push(new Uint8Array(1 << 18));
    return all.length;
  }),
  target('opens', 'number', numbers, (all) => {
    if (all.length === 7) openSync('/dev/null', 'r');
    return all.length;
  }),
];
